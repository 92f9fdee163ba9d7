"""Review tells what an upgrade would change, and changes nothing."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from local.roles import new_role, plain_role
from services.executor.clients import migrations
from services.executor.clients.postgres import schema_digest
from services.executor.stages import review
from services.executor.stages.project_tree import migrations_at
from shared.clients.database_urls import database_of
from shared.clients.secrets import Secrets
from shared.contracts.facts import ReviewFacts
from shared.contracts.projects import PrismaPaths
from shared.contracts.stages import Finding
from shared.errors import Failure, Retry
from tests.executor.conftest import NewDatabase
from tests.executor.merge_world import DEFINITION, LINES, OLD, PINS, MergeWorld, make_merge_world
from tests.packages.package_files import packed
from tests.support.scopes import variable

# Each makes the two roles of its Project.
pytestmark = pytest.mark.superuser

SIGNIN = "systems/auth-system/signin.py"


class ReviewWorld:
    """A merge world whose production has a database."""

    def __init__(self, world: MergeWorld, database: str, staging: str) -> None:
        self.world = world
        tools = world.tools
        project = world.project.id
        known = {
            variable(project, "production", "production-database"): database,
            variable(project, "staging", "staging-database"): staging,
        }
        self.tools = replace(tools, secrets=Secrets(None, known))

    async def review(self) -> ReviewFacts:
        return await review.run(self.world.job("review"), self.world.review_task(), self.tools)


async def reviewing(
    folder: Path,
    database: str,
    files: Mapping[str, str | bytes | None] | None = None,
    *,
    migrated: bool = True,
    plain: bool = True,
) -> ReviewWorld:
    staging = database
    if plain:
        staging = await new_role(database, f"{database_of(database)}_staging", makes_databases=True)
        database = await plain_role(database)
    world = await make_merge_world(folder, files)
    if migrated:
        history = await migrations_at(world.remote, await world.head("main"), PrismaPaths())
        await migrations.apply(database, history, (0, 0))
    return ReviewWorld(world, database, staging)


async def failed(world: ReviewWorld) -> tuple[Finding, ...]:
    with pytest.raises(Failure) as failure:
        await world.review()
    assert all(finding.cure and finding.detail for finding in failure.value.outcome.findings)
    return failure.value.outcome.findings


async def test_the_facts_are_what_the_plan_needs(tmp_path: Path, new_database: NewDatabase) -> None:
    database = await new_database()
    made = await reviewing(tmp_path, database)
    before = await made.world.remote.refs("HEAD", "refs/heads/main")
    facts = await made.review()
    assert facts.head == await made.world.head("main")
    assert facts.production_schema == await schema_digest(database)
    assert [note.version for note in facts.notes["auth-system"]] == ["1.3.0", "1.2.5"]
    assert facts.notes["auth-system"][0].migration_notes == "Look at it."
    assert {(change.key, change.after, change.kept) for change in facts.config} == {
        ("minutes", 45, True),
        ("days", 90, False),
    }
    files = {change.path: change for change in facts.files}
    assert (files[SIGNIN].partner_edited, files[SIGNIN].conflict) == (True, False)
    assert "systems/auth-system/users.py" not in files
    assert await made.world.remote.refs("HEAD", "refs/heads/main") == before
    assert made.world.journal.effects == []
    assert await made.review() == facts


async def test_new_migrations_are_stamped_after_the_projects_last(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    facts = await (await reviewing(tmp_path, await new_database())).review()
    (migration,) = facts.migrations
    assert migration.folder == "20260501000100_auth-system_user_status"
    assert migration.name == "20260301120000_user_status"
    assert (migration.contracting, migration.reversible) == (True, True)
    assert migration.sql == "ALTER TABLE users ADD status text;"


async def test_rules_that_depend_on_a_change_are_named_with_it(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    dangling = 'depends_on = ["auth-system:nowhere.py", "auth-system:model.Nobody"]'
    made = await reviewing(tmp_path, await new_database(), {"workflows/dangling.toml": dangling})
    facts = await made.review()
    assert {impact.rule: impact.depends_on for impact in facts.rules} == {
        "workflows/session.toml: Sessions are long": ("auth-system:config.minutes",),
        "workflows/users.toml": ("auth-system:model.User", "auth-system:signin.py"),
        # What neither package has cannot be called safe.
        "workflows/dangling.toml": ("auth-system:nowhere.py", "auth-system:model.Nobody"),
    }


async def test_the_diff_is_the_whole_change(tmp_path: Path, new_database: NewDatabase) -> None:
    made = await reviewing(tmp_path, await new_database())
    diff = (await made.tools.content.get((await made.review()).diff)).decode()
    for line in ("+FIVE", "+days = 90", "+ALTER TABLE users ADD status text;", "+auth-system: 1.3.0"):
        assert line in diff
    assert "quote-engine: 0.9.1" in diff
    assert "+quote-engine" not in diff


async def test_a_conflict_is_a_fact(tmp_path: Path, new_database: NewDatabase) -> None:
    made = await reviewing(tmp_path, await new_database(), {SIGNIN: LINES.replace("five", "5")})
    files = {change.path: change for change in (await made.review()).files}
    assert files[SIGNIN].conflict
    for words in ("auth-system: ", "acme-portal\n", "\n5\n", "\nFIVE\n", "auth-system-1.3.0"):
        assert words in files[SIGNIN].dispute


@pytest.mark.parametrize(
    ("files", "subject"),
    [
        ({"upgradepath.toml": DEFINITION.replace('"Acme"', '"Other"')}, "upgradepath.toml"),
        ({"upgradepath.toml": "id = 1\n"}, "upgradepath.toml"),
        ({"upgradepath.toml": None}, "upgradepath.toml"),
        ({"version-map.yaml": "auth-system: 1.2.3\n"}, "version-map.yaml"),
        ({"version-map.yaml": None}, "version-map.yaml"),
        ({"workflows/session.toml": "depends_on = 3\n"}, "workflows/session.toml"),
        ({"workflows/session.toml": "name = \n"}, "workflows/session.toml"),
    ],
)
async def test_a_file_of_the_project_that_is_not_as_it_should_be_is_named(
    tmp_path: Path, new_database: NewDatabase, files: dict[str, str | None], subject: str
) -> None:
    findings = await failed(await reviewing(tmp_path, await new_database(), files))
    assert {(finding.kind, finding.subject) for finding in findings} == {("project-file", subject)}


async def test_another_spelling_of_the_same_declaration_is_welcome(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    files = {
        "upgradepath.toml": f"# Ours\n{DEFINITION}",
        "version-map.yaml": "".join(f"{name}: {version}\n" for name, version in sorted(PINS.items())),
    }
    await (await reviewing(tmp_path, await new_database(), files)).review()


async def test_an_installed_migration_that_is_not_the_packages_is_named(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    folder = "20260401000000_auth-system_init"
    source = f'system = "auth-system"\nname = "20250101000000_init"\nchecksum = "{"0" * 64}"\n'
    path = f"prisma/migrations/{folder}/source.toml"
    (finding,) = await failed(await reviewing(tmp_path, await new_database(), {path: source}))
    assert (finding.kind, finding.subject) == ("migration", folder)


async def test_a_package_that_is_not_what_the_plan_says_is_named(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    made = await reviewing(tmp_path, await new_database())
    wrong = await made.tools.content.put(packed(OLD))
    made.world.upgrade = made.world.upgrade.model_copy(update={"to_package": wrong})
    assert [finding.kind for finding in await failed(made)] == ["package"]


async def test_a_production_that_does_not_answer_is_an_error_not_a_verdict(tmp_path: Path) -> None:
    with pytest.raises(Retry):
        await (
            await reviewing(tmp_path, "postgresql://nobody@127.0.0.1:9/none", migrated=False, plain=False)
        ).review()


async def test_what_production_cannot_take_is_told_before_anything_is_done(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    made = await reviewing(tmp_path, await new_database(), migrated=False)
    assert [finding.subject for finding in await failed(made)] == [
        "20260401000000_auth-system_init",
        "20260501000059_crm",
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("20250101000001_gone", "has it no more"),
        ("20250202000000_init", "calls it 20250101000000_init"),
        ("20270101000000_later", "20260301120000_user_status of the new package stands before"),
    ],
)
async def test_a_package_that_tells_another_history_than_what_is_installed_is_refused(
    tmp_path: Path, new_database: NewDatabase, name: str, told: str
) -> None:
    init = "prisma/migrations/20260401000000_auth-system_init"
    checksum = hashlib.sha256(b"CREATE TABLE users (id int);").hexdigest()
    source = f'system = "auth-system"\nname = "{name}"\nchecksum = "{checksum}"\n'
    if "gone" in name or "later" in name:
        source = source.replace(checksum, "0" * 64)
    findings = await failed(await reviewing(tmp_path, await new_database(), {f"{init}/source.toml": source}))
    assert any(told in finding.detail for finding in findings)
