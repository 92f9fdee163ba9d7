"""Apply merges what can be merged, leaves the rest to the maintainer, and says the same when asked again."""

from pathlib import Path

import pytest

from shared.contracts.stages import Finding
from shared.errors import Failure
from tests.executor.merge_world import BRANCH, KEPT, LINES, RUN, MergeWorld, make_merge_world
from tests.packages.package_files import a_package, packed

SIGNIN = "systems/auth-system/signin.py"
USERS = "systems/auth-system/users.py"
CONFLICTING = LINES.replace("five", "5")


@pytest.fixture
async def world(tmp_path: Path) -> MergeWorld:
    made = await make_merge_world(tmp_path)
    await made.prepared()
    return made


@pytest.fixture
async def conflicting(tmp_path: Path) -> MergeWorld:
    """The partner has edited the very line that the new package changes, and deleted nothing."""
    made = await make_merge_world(tmp_path, {SIGNIN: CONFLICTING})
    await made.prepared()
    return made


async def failed(world: MergeWorld, *, again: bool = False) -> tuple[Finding, ...]:
    with pytest.raises(Failure) as failure:
        await world.apply(again=again)
    findings = failure.value.outcome.findings
    assert all(finding.cure and finding.detail for finding in findings)
    return findings


async def test_both_sides_are_kept(world: MergeWorld) -> None:
    facts = await world.apply()
    assert facts.commit == await world.head()
    assert facts.base == world.base
    assert await world.text(SIGNIN) == LINES.replace("one", "ONE").replace("five", "FIVE")
    assert await world.text("systems/auth-system/new.py") == "new\n"
    assert await world.text("systems/auth-system/gone.py") is None
    assert await world.text("config/auth-system.toml") == "minutes = 45  # ours\ncookie = 'a'\ndays = 90\n"
    assert "status" in (await world.text("prisma/schema/auth-system.prisma") or "")


async def test_what_is_never_merged_comes_from_the_package_and_the_partners_own_files_stay(
    world: MergeWorld,
) -> None:
    await world.apply()
    assert await world.text("systems/auth-system/static/app.css") == "new\n"
    assert await world.text("systems/auth-system/static/old.css") is None
    assert await world.text("systems/auth-system/static/mine.css") == "mine\n"


async def test_the_facts_name_each_file_and_who_had_edited_it(world: MergeWorld) -> None:
    facts = await world.apply()
    assert {(change.path, change.change, change.partner_edited) for change in facts.files} == {
        (SIGNIN, "changed", True),
        ("systems/auth-system/new.py", "added", False),
        ("systems/auth-system/gone.py", "deleted", False),
        ("systems/auth-system/static/app.css", "changed", True),
        ("systems/auth-system/static/old.css", "deleted", False),
        ("config/auth-system.toml", "changed", True),
        ("prisma/schema/auth-system.prisma", "changed", False),
    }
    assert facts.tree == await world.remote.tree(facts.commit)


async def test_the_commit_says_whose_it_is_and_is_kept(world: MergeWorld) -> None:
    facts = await world.apply()
    (logged,) = await world.remote.log(world.base, facts.commit)
    assert (logged.author, logged.subject) == ("upgradepath", "Upgrade auth-system 1.2.4 to 1.3.0")
    assert f"Upgradepath-Run: {RUN}" in logged.message
    assert await world.remote.ref(KEPT) == facts.commit
    assert not world.journal.touched_production()


async def test_a_redo_after_a_crash_gives_the_same(world: MergeWorld, tmp_path: Path) -> None:
    world.journal.fail_at = "push-branch"
    with pytest.raises(ConnectionError):
        await world.apply()
    pushed = await world.head()
    world.journal.fail_at = None
    assert (await world.apply()).commit == pushed
    assert (await world.apply(again=True)).commit == pushed
    # Also when the push itself was lost: the commits depend on nothing but what they are made of.
    await world.remote.push([(f"refs/heads/{BRANCH}", world.base, pushed), (KEPT, world.base, pushed)])
    assert (await world.apply()).commit == pushed


async def test_a_conflict_is_left_on_the_branch_with_its_lines(conflicting: MergeWorld) -> None:
    (finding,) = await failed(conflicting)
    assert (finding.kind, finding.subject) == ("conflict", SIGNIN)
    expected = "lines 5-9:\n<<<<<<< acme-portal\n5\n=======\nFIVE\n>>>>>>> auth-system-1.3.0"
    assert expected in finding.detail
    assert f"upgradepath run continue {RUN}" in finding.cure
    assert BRANCH in finding.cure
    assert "<<<<<<< acme-portal" in (await conflicting.text(SIGNIN) or "")
    assert await conflicting.remote.ref(KEPT) == await conflicting.head()
    # Nothing changed, so nothing changes: neither the answer nor the branch.
    before = await conflicting.head()
    assert await failed(conflicting) == (finding,)
    assert await failed(conflicting, again=True) == (finding,)
    assert await conflicting.head() == before


async def test_a_pushed_fix_is_taken_as_it_is(conflicting: MergeWorld) -> None:
    await failed(conflicting)
    half = (await conflicting.text(SIGNIN) or "").replace("one", "uno")
    await conflicting.push(BRANCH, {SIGNIN: half})
    (finding,) = await failed(conflicting, again=True)
    assert finding.subject == SIGNIN
    fix = await conflicting.push(BRANCH, {SIGNIN: LINES.replace("five", "V")})
    facts = await conflicting.apply(again=True)
    assert facts.commit == fix
    assert await conflicting.remote.ref(KEPT) == fix
    assert SIGNIN in {change.path for change in facts.files}


async def test_a_deletion_against_an_edit_is_a_conflict_until_somebody_worked_on_it(tmp_path: Path) -> None:
    world = await make_merge_world(tmp_path, {SIGNIN: None})
    await world.prepared()
    (finding,) = await failed(world)
    assert finding.subject == SIGNIN
    assert "deleted" in finding.detail
    assert await failed(world, again=True) == (finding,)
    await world.push(BRANCH, {SIGNIN: None})
    assert (await world.apply(again=True)).commit == await world.head()


async def test_what_reached_production_meanwhile_is_merged_in(world: MergeWorld) -> None:
    first = await world.apply()
    moved = await world.push("main", {USERS: LINES.replace("one", "uno"), "notes.txt": "n\n"})
    facts = await world.apply(again=True)
    assert facts.base == moved
    assert facts.commit == await world.head()
    assert await world.remote.is_ancestor(first.commit, facts.commit)
    assert await world.remote.is_ancestor(moved, facts.commit)
    assert "notes.txt" not in {change.path for change in facts.files}
    # The planner names the new base from now on, and nothing else happens.
    world.base = moved
    assert await world.apply(again=True) == facts


async def test_what_conflicts_with_production_is_told_and_nothing_is_pushed(world: MergeWorld) -> None:
    await world.apply()
    before = await world.head()
    await world.push("main", {SIGNIN: CONFLICTING.replace("one", "ONE")})
    (finding,) = await failed(world, again=True)
    assert (finding.kind, finding.subject) == ("conflict", SIGNIN)
    assert "git merge origin/main" in finding.cure
    assert await world.head() == before


async def test_a_branch_may_not_change_who_we_are_or_what_is_pinned(world: MergeWorld) -> None:
    await world.apply()
    await world.push(BRANCH, {"version-map.yaml": "auth-system: 9.9.9\n", "upgradepath.toml": "x = 1\n"})
    findings = await failed(world, again=True)
    assert {finding.subject for finding in findings} == {"version-map.yaml", "upgradepath.toml"}
    assert {finding.kind for finding in findings} == {"project-file"}


@pytest.mark.parametrize(
    ("path", "text"),
    [("version-map.yaml", "auth-system: 1.2.4\n"), ("upgradepath.toml", "id = 'other'\n")],
)
async def test_neither_may_a_push_to_production(world: MergeWorld, path: str, text: str) -> None:
    await world.apply()
    await world.push("main", {path: text})
    assert {finding.kind for finding in await failed(world, again=True)} == {"project-file"}


async def test_a_branch_that_is_gone_or_another_is_drift(world: MergeWorld) -> None:
    await world.apply()
    head = await world.head()
    other = await world.remote.commit(await world.remote.tree(head), [], "Other", when=1)
    await world.remote.push([(f"refs/heads/{BRANCH}", other, head)])
    assert [finding.kind for finding in await failed(world, again=True)] == ["drift"]
    await world.remote.push([(f"refs/heads/{BRANCH}", None, other)])
    assert [finding.kind for finding in await failed(world, again=True)] == ["drift"]


async def test_production_rewritten_is_drift(world: MergeWorld) -> None:
    await world.apply()
    main = await world.head("main")
    other = await world.remote.commit(await world.remote.tree(main), [], "Other", when=1)
    await world.remote.push([("refs/heads/main", other, main)])
    assert [finding.kind for finding in await failed(world, again=True)] == ["drift"]


async def test_work_that_came_before_the_merge_is_merged_with(world: MergeWorld) -> None:
    early = await world.push(BRANCH, {USERS: LINES.replace("two", "2")})
    facts = await world.apply()
    assert await world.remote.is_ancestor(early, facts.commit)
    assert await world.text(USERS) == LINES.replace("two", "2")


async def test_a_configuration_that_is_no_toml_is_told(tmp_path: Path) -> None:
    world = await make_merge_world(tmp_path, {"config/auth-system.toml": "minutes = "})
    await world.prepared()
    (finding,) = await failed(world)
    assert (finding.kind, finding.subject) == ("project-file", "config/auth-system.toml")


LEDGER = packed(
    a_package(
        name="ledger-system",
        version="0.2.0",
        files={"ledger.py": "ledger = 1\n", "static/ledger.css": "new\n"},
        manifest='[config]\ncurrency = "EUR"\n[files]\noverwrite = ["static/**"]\n',
        more={"prisma/schema.prisma": "model Ledger {\n  id Int @id\n}\n"},
    )
)


async def test_an_added_system_is_merged_from_nothing(tmp_path: Path) -> None:
    """Catches a System that comes in without a file, its part of the schema or its configuration."""
    world = await make_merge_world(tmp_path)
    await world.add(LEDGER)
    await world.prepared()
    facts = await world.apply()
    assert await world.text("systems/ledger-system/ledger.py") == "ledger = 1\n"
    assert await world.text("systems/ledger-system/static/ledger.css") == "new\n"
    assert await world.text("config/ledger-system.toml") == 'currency = "EUR"\n'
    assert "model Ledger" in (await world.text("prisma/schema/ledger-system.prisma") or "")
    assert {(file.change, file.partner_edited, file.conflict) for file in facts.files} == {
        ("added", False, False)
    }
    assert await world.text(SIGNIN, "main") == await world.text(SIGNIN)
    assert (await world.remote.log(world.base, facts.commit))[0].message.startswith(
        "Add ledger-system 0.2.0\n"
    )
    assert await world.apply(again=True) == facts


async def test_files_of_the_project_where_an_added_system_comes_stay(tmp_path: Path) -> None:
    """Catches a Project's own file that the package takes the place of, unasked."""
    world = await make_merge_world(
        tmp_path,
        {
            "systems/ledger-system/ledger.py": "mine = 1\n",
            "systems/ledger-system/own.py": "own\n",
            "config/ledger-system.toml": 'currency = "CHF"\n',
        },
    )
    await world.add(LEDGER)
    await world.prepared()
    (finding,) = await failed(world)
    assert finding.subject == "systems/ledger-system/ledger.py"
    assert await world.text("systems/ledger-system/own.py") == "own\n"
    assert await world.text("config/ledger-system.toml") == 'currency = "CHF"\n'
    await world.push(BRANCH, {"systems/ledger-system/ledger.py": "mine = 1\nledger = 1\n"})
    facts = await world.apply(again=True)
    assert facts.commit == await world.head()


async def test_a_model_that_two_systems_declare_stops_the_one_that_is_added(tmp_path: Path) -> None:
    world = await make_merge_world(tmp_path)
    schema = {"prisma/schema.prisma": "model User {\n  id Int @id\n}\n"}
    await world.add(packed(a_package(name="ledger-system", version="0.2.0", more=schema)))
    await world.prepared()
    findings = await failed(world)
    assert {finding.kind for finding in findings} == {"conflict"}
    assert "User" in str(findings)


async def test_a_removed_system_leaves_its_part_of_the_schema_and_the_partners_files(tmp_path: Path) -> None:
    """Catches a removal that takes the partner's files, or the description of tables that stay."""
    world = await make_merge_world(tmp_path, {SIGNIN: LINES, "systems/auth-system/static/app.css": "old\n"})
    world.remove()
    await world.prepared()
    facts = await world.apply()
    gone = [SIGNIN, USERS, "systems/auth-system/gone.py", "systems/auth-system/static/app.css"]
    assert [await world.text(path) for path in gone] == [None] * 4
    assert await world.text("systems/auth-system/static/mine.css") == "mine\n"
    assert "model User" in (await world.text("prisma/schema/auth-system.prisma") or "")
    assert await world.text("config/auth-system.toml") == "minutes = 45  # ours\n"
    log = await world.remote.log(world.base, facts.commit)
    assert log[0].message.startswith("Remove auth-system 1.2.4\n")
    assert await world.apply(again=True) == facts


async def test_an_edited_file_of_a_removed_system_is_the_maintainers_to_decide(tmp_path: Path) -> None:
    world = await make_merge_world(tmp_path, {"config/auth-system.toml": "minutes = 30\ncookie = 'a'\n"})
    world.remove()
    await world.prepared()
    findings = await failed(world)
    assert {finding.subject for finding in findings} == {SIGNIN, "systems/auth-system/static/app.css"}
    assert await world.text("config/auth-system.toml") is None
