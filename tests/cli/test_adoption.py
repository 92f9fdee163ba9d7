"""What a repository has of the Library's Systems is found by comparing; what is not certain is asked for."""

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.adoption.bases import candidates, certain, compare, elsewhere
from cli.adoption.history import find_migrations
from cli.adoption.proposal import changes, project_file, push, unmade_commands
from cli.adoption.schema import take_apart
from cli.adoption.survey import BRANCH, Asked, Survey, look
from local.example import EXAMPLES, package_folder
from shared.adopted import Adopted, read_adopted, write_adopted
from shared.clients.git import Git
from shared.contracts.projects import PrismaPaths
from shared.contracts.releases import PackageMigration, Release
from shared.errors import Reject
from shared.packages.archive import pack_folder
from shared.packages.package import Package, read_package
from shared.prisma.fragments import merge
from shared.prisma.ownership import Unified
from shared.project_file import read_project_file
from tests.packages.package_files import a_package, packed
from tests.support.scopes import LOCAL

FOLDER, SINGLE = "prisma/schema/", PrismaPaths().single
OLD, NEW = ("auth-system", "1.2.4"), ("auth-system", "1.3.0")
PINNED = (OLD, ("notifications-system", "0.3.2"), ("onboarding-system", "0.5.4"), ("quote-engine", "0.9.1"))
INIT = "prisma/migrations/20240101000000_init/migration.sql"


@cache
def package(system: str, version: str) -> Package:
    return read_package(pack_folder(package_folder(system, version)))


def release(system: str, version: str) -> Release:
    read = package(system, version)
    return Release(
        system=system,
        version=version,
        package=hashlib.sha256(f"{system} {version}".encode()).hexdigest(),
        summary=read.manifest.summary,
        migrations=tuple(
            PackageMigration(name=each.name, checksum=each.checksum, reversible=False, contracting=False)
            for each in read.migrations
        ),
        published_at=datetime.now(UTC),
        published_by="library@example",
    )


RELEASES = [release(*each) for each in (*PINNED, NEW)]


def installed(*releases: tuple[str, str]) -> dict[str, bytes]:
    return {
        f"systems/{system}/{path}": data
        for system, version in releases
        for path, (_, data) in package(system, version).files.items()
    }


def plain(*releases: tuple[str, str]) -> dict[str, bytes]:
    """A repository with these releases as published, one schema file, and one migration with everything."""
    fragments = {f"{system}.prisma": package(system, version).schema for system, version in releases}
    unified = merge(fragments | {"main.prisma": 'datasource db {\n  provider = "postgresql"\n}\n'})
    assert isinstance(unified, Unified)
    scripts = [each.sql for system, version in releases for each in package(system, version).migrations]
    return installed(*releases) | {
        SINGLE: "\n".join(unified.files.values()).encode(),
        INIT: "\n".join(scripts).encode(),
    }


# --- bases -------------------------------------------------------------------------------------


@given(st.data())
def test_the_release_that_was_installed_is_the_most_alike_whatever_was_edited(data: st.DataObject) -> None:
    there = data.draw(st.sampled_from([OLD, NEW]))
    files = installed(there)
    telling = [path for path in files if files[path] not in installed(NEW if there == OLD else OLD).values()]
    touched = data.draw(st.sets(st.sampled_from(sorted(files)), max_size=len(telling) - 1))
    gone = data.draw(st.sets(st.sampled_from(sorted(touched)), max_size=1)) if touched else set()
    for path in touched:
        files[path] += b"# ours\n"
    for path in gone:
        del files[path]
    found = candidates([package(*OLD), package(*NEW)], files)
    if not gone:
        assert found[0].version == there[1]
        assert found[0].edited == tuple(sorted(touched))
    sure = certain(found)
    assert (sure.version if sure else None) == (None if touched else there[1])


def test_drift_is_said_in_words() -> None:
    files = installed(OLD)
    del files["systems/auth-system/settings.py"]
    files["systems/auth-system/users.py"] = b"ours"
    files["systems/auth-system/extra.py"] = b"ours"
    base = compare(package(*OLD), files)
    assert str(base) == "auth-system: 1.2.4, 1 file edited by you, 1 file missing"
    assert base.added == ("systems/auth-system/extra.py",)


def test_two_releases_with_the_same_files_are_not_told_apart() -> None:
    base = compare(package(*OLD), installed(OLD))
    assert certain([base, base]) is None


def test_a_system_in_another_folder_is_found_there() -> None:
    files = {
        f"src/auth/{path.removeprefix('systems/auth-system/')}": data for path, data in installed(OLD).items()
    }
    found = elsewhere(package(*OLD), files)
    assert found is not None
    assert found.folder == "src/auth/"
    assert elsewhere(package(*NEW), {"src/other.py": b"x" * 100}) is None


# --- history and schema ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "how"),
    [
        ("{}", "same file"),
        ("-- other words\n{}\n\n", "same statements"),
        ("/* more */ CREATE TABLE more (t text DEFAULT ';--');\n{}", "within"),
        ('CREATE TABLE "users" (id int);', None),
    ],
)
def test_a_migration_is_known_by_its_statements(sql: str, how: str | None) -> None:
    first, *rest = package(*OLD).migrations
    folders = {"1_mine": sql.format(first.sql)} | {each.name: each.sql for each in rest}
    history = find_migrations([package(*OLD)], folders, ())["auth-system"]
    assert [each.how for each in history.found] == [*([how] if how else []), *["same file" for _ in rest]]
    assert [each.name for each in history.missing] == ([] if how else [first.name])
    confirmed = find_migrations([package(*OLD)], folders, [f"auth-system/{first.name}"])["auth-system"]
    assert confirmed.missing == ()


def test_a_migration_without_statements_is_missed_nowhere() -> None:
    name = "20260101000000_later_perhaps"
    files = a_package(more={f"prisma/migrations/{name}/migration.sql": "-- not yet\n"})
    later = read_package(packed(files))
    history = find_migrations([later], {"1_mine": "CREATE TABLE users (id int)"}, ())[later.system]
    assert [(each.migration.name, each.migration.folder) for each in history.found] == [(name, "")]
    assert history.missing == ()


def test_a_unified_schema_is_taken_apart_into_what_was_published() -> None:
    fragments = {
        f"{FOLDER}{path.name}": path.read_text()
        for path in (EXAMPLES / "project" / "prisma" / "schema").glob("*")
    }
    unified = merge(fragments)
    assert isinstance(unified, Unified)
    published = {system: package(system, version).schema for system, version in PINNED}
    apart = take_apart({SINGLE: "\n".join(unified.files.values())}, published)
    assert apart == fragments
    assert take_apart(apart, published) == fragments


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
ADOPTED = st.builds(
    Adopted, system=st.just("a"), name=NAMES.filter(bool), checksum=st.just("0" * 64), folder=NAMES
)


@given(st.lists(ADOPTED, max_size=4))
def test_what_was_adopted_reads_as_it_was_written(migrations: list[Adopted]) -> None:
    assert list(read_adopted(write_adopted(tuple(migrations)), "adopted.toml")) == migrations


def test_the_proposed_project_file_is_good_but_for_the_commands_it_asks_for() -> None:
    definition = read_project_file(project_file("harbour", "main"))
    assert len(unmade_commands(definition, {})) == 5
    made = dict.fromkeys(unmade_commands(definition, {}))
    assert unmade_commands(definition, made) == []


# --- the whole survey --------------------------------------------------------------------------


class Remote:
    """A repository of its own, and somebody who pushes to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = str(folder / "remote.git")

    async def push(self, files: dict[str, bytes], branch: str = "main") -> Git:
        await Git.open(self.url, Path(self.url), LOCAL)
        git = await Git.open(self.url, self.folder / "clone", LOCAL)
        head = await git.head(branch)
        tree = await git.tree_with(None, files)
        commit = await git.commit(tree, [head] if head else [], "As it is", when=1_700_000_000)
        await git.push([(f"refs/heads/{branch}", commit, head)])
        return git

    def asked(self, **given: object) -> Asked:
        values: dict[str, object] = {"branch": "main", "pins": {}, "applied": (), "database": None}
        return Asked(repository=self.url, **(values | given))  # type: ignore[arg-type]

    async def survey(self, files: dict[str, bytes], **given: object) -> Survey:
        git = await self.push(files)
        return await look(git, self.asked(**given), RELEASES, lambda each: package(each.system, each.version))


async def test_a_project_as_published_is_settled_and_its_proposal_is_made_once(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    survey = await remote.survey(plain(*PINNED))
    assert survey.refusals == []
    assert survey.pins == dict(PINNED)
    wanted = changes(survey, "harbour", "main")
    assert wanted[SINGLE] is None
    git = await Git.open(remote.url, tmp_path / "clone", LOCAL)
    first = await push(git, survey, wanted, 1_700_000_001)
    again = await look(git, remote.asked(), RELEASES, lambda each: package(each.system, each.version))
    assert changes(again, "harbour", "main") == {}
    assert await push(git, again, {}, 1_700_000_002) == first == await git.head(BRANCH)
    adopted = await git.show(first, PrismaPaths().adopted_file)
    assert adopted is not None
    assert {each.folder for each in read_adopted(adopted.decode(), "adopted.toml")} == {"20240101000000_init"}


@pytest.mark.parametrize(
    ("change", "given", "reasons"),
    [
        ({"systems/auth-system/users.py": b"x"}, {}, ["the most alike is auth-system: 1.2.4, 1 file edited"]),
        ({"systems/auth-system/users.py": b"x"}, {"pins": {"auth-system": "1.2.4"}}, []),
        ({}, {"pins": {"auth-system": "9.9.9"}}, ["auth-system 9.9.9 is not published"]),
        ({}, {"pins": {"billing": "1.0.0"}}, ["billing is not installed"]),
        ({}, {"applied": ["auth-system/20200101000000_no"]}, ["no installed System has this migration"]),
        (
            {INIT: b"SELECT 1"},
            {},
            [
                "20250110090000_init",
                "20250602090000_user_suspended_at",
                "notifications",
                "onboarding",
                "quote",
            ],
        ),
    ],
)
async def test_what_is_not_certain_is_refused_with_its_cure(
    tmp_path: Path, change: dict[str, bytes], given: dict[str, object], reasons: list[str]
) -> None:
    survey = await Remote(tmp_path).survey(plain(*PINNED) | change, **given)
    assert [(words in refusal.reason) for words, refusal in zip(reasons, survey.refusals, strict=True)] == [
        True
    ] * len(reasons)
    assert all(refusal.cure and refusal.field for refusal in survey.refusals)


@pytest.mark.parametrize(
    ("files", "given", "reason"),
    [
        ({"README.md": b"x"}, {}, "no Prisma project"),
        (plain(*PINNED), {"branch": "trunk"}, "no branch trunk"),
        ({SINGLE: b"", INIT: b"SELECT 1"}, {}, "none of the Library's Systems"),
        (plain(*PINNED) | {SINGLE: b"model User {\n  id Int @id\n"}, {}, "the schema cannot be read"),
        (
            plain(*PINNED) | {"prisma/migrations/migration_lock.toml": b'provider = "mysql"'},
            {},
            "not for PostgreSQL",
        ),
    ],
)
async def test_what_is_no_project_is_refused_at_once(
    tmp_path: Path, files: dict[str, bytes], given: dict[str, object], reason: str
) -> None:
    with pytest.raises(Reject, match=reason):
        await Remote(tmp_path).survey(files, **given)


async def test_a_proposal_that_production_has_left_behind_is_refused(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    await remote.push({"old.txt": b"1"}, BRANCH)
    with pytest.raises(Reject, match="does not contain the head of main"):
        await remote.survey(plain(*PINNED))
