"""Adoption of repositories as they are found: each kind of history, folder and layout by itself."""

import re
import subprocess
from pathlib import Path

import pytest

from cli.adoption.bases import candidates, certain, elsewhere
from cli.adoption.history import find_migrations
from cli.adoption.masks import OpenColumn, Sample, propose
from cli.adoption.place import Place, find_place
from cli.adoption.samples import MADE_UP
from cli.adoption.systems import by_system, installed
from services.executor.clients.mask_rules import Column
from shared.contracts.projects import PrismaPaths
from shared.contracts.releases import Release
from shared.errors import Reject
from shared.packages.package import Package, read_package
from tests.cli.test_adoption import release
from tests.packages.package_files import a_package, packed

READY = 'ALTER TABLE "Task" ADD COLUMN "ready" BOOLEAN NOT NULL DEFAULT false;\n'
TASKS = {
    "20240101000000_init": 'CREATE TABLE "Task" ("id" SERIAL NOT NULL);\n',
    "20240102000000_ready": READY,
    "20240103000000_not_ready": 'ALTER TABLE "Task" DROP COLUMN "ready";\n',
    "20240104000000_ready_again": READY,
}
CITEXT = "CREATE EXTENSION IF NOT EXISTS citext;\n"
LONG = "# shared by several Systems, and longer than next to nothing\n"


def a_system(
    name: str, migrations: dict[str, str] | None = None, files: dict[str, str] | None = None
) -> Package:
    more = {f"prisma/migrations/{each}/migration.sql": sql for each, sql in (migrations or {}).items()}
    return read_package(packed(a_package(name=name, files=files or {"main.py": name}, more=more)))


def where(packages: list[Package], folders: dict[str, str]) -> dict[str, str | None]:
    """By migration, the folder that stands for it; none where it is missing."""
    found: dict[str, str | None] = {}
    for system, history in find_migrations(packages, folders, ()).items():
        found |= {f"{system}/{each.migration.name}": each.migration.folder for each in history.found}
        found |= {f"{system}/{each.name}": None for each in history.missing}
    return found


# --- proposed mask rules ------------------------------------------------------------------------


def proposed(name: str, sample: Sample | None, *, is_id: bool = False) -> str:
    column = Column(
        *("public", "Person", name, True, "text", False, False, False, "text", "S", False, 0),
    )
    samples = {} if sample is None else {column.key: sample}
    [found] = propose([OpenColumn("Person", name, column, is_id)], samples, [], {})
    return found.rule


@pytest.mark.parametrize("name", ["taxId", "nationalId", "passport_id", "drivingLicenceId", "taxid", "iban"])
def test_a_persons_papers_are_no_made_up_id(name: str) -> None:
    seen = Sample(values=60, distinct=60, like_phone=60, like_id=60, like_key=60)
    assert {proposed(name, sample, is_id=key) for sample in (seen, Sample()) for key in (True, False)} == {
        "hash"
    }


def test_an_id_is_made_up_where_its_rows_show_it_and_what_was_not_counted_is_hashed() -> None:
    made_up, other = Sample(60, 60, like_id=60, like_key=60), Sample(60, 60, like_phone=60, like_key=60)
    assert [proposed("externalId", each) for each in (made_up, other, None)] == ["keep", "hash", "hash"]
    assert [proposed("id", each, is_id=True) for each in (other, Sample(), None)] == ["keep", "keep", "hash"]
    assert [proposed("status", each) for each in (Sample(), None)] == ["keep", "hash"]


@pytest.mark.parametrize(
    ("value", "is_made_up"),
    [
        ("0b7e9b46-6f0e-4f8c-9d2a-0c1f8a1b2c3d", True),
        ("cjld2cjxh0000qzrmn831i7rn", True),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", True),
        ("usr_8fJ2kd93Lq0Zx7", True),
        ("123-45-6789", False),
        ("AB1234567", False),
        ("12345678901234567890123456", False),
        ("117730161111101800000000", False),
        ("GB29NWBK60161331926819", False),
    ],
)
def test_what_only_a_program_makes_up(value: str, is_made_up: bool) -> None:
    assert (re.search(MADE_UP, value) is not None) == is_made_up


# --- a folder stands for one migration ----------------------------------------------------------

INIT, READY_FIRST, NOT_READY, READY_AGAIN = TASKS


@pytest.mark.parametrize(
    ("folders", "missing"),
    [
        ([INIT, READY_FIRST, NOT_READY], READY_AGAIN),
        ([INIT, NOT_READY, READY_AGAIN], READY_FIRST),
        ([INIT, READY_FIRST, NOT_READY, READY_AGAIN], None),
    ],
)
def test_a_migration_added_back_needs_a_folder_of_its_own(folders: list[str], missing: str | None) -> None:
    found = where([a_system("tasks", TASKS)], {each: TASKS[each] for each in folders})
    assert [name.removeprefix("tasks/") for name, folder in found.items() if folder is None] == (
        [missing] if missing else []
    )
    assert all(folder in (None, name.removeprefix("tasks/")) for name, folder in found.items())


@pytest.mark.parametrize(
    ("folders", "known"),
    [
        # Restamped and renamed: in order, each once.
        ({f"2025010{n}000000_x": sql for n, sql in enumerate(TASKS.values())}, 4),
        ({f"2025010{n}000000_x": sql for n, sql in enumerate([*TASKS.values()][:3])}, 3),
        # All in one file: each statement counts once.
        ({"1_all": "".join(TASKS.values())}, 4),
        ({"1_all": "".join([*TASKS.values()][:3])}, 3),
        ({"1_all": "".join([*TASKS.values()][:3]), "2_again": f"-- ours\n{READY}".replace("\n", "\r\n")}, 4),
    ],
)
def test_statements_are_claimed_in_order_and_once(folders: dict[str, str], known: int) -> None:
    found = where([a_system("tasks", TASKS)], folders)
    assert sum(folder is not None for folder in found.values()) == known
    assert list(found)[known:] == [name for name, folder in found.items() if folder is None]


def test_what_a_system_repeats_is_not_taken_from_another_systems_folder() -> None:
    one, other = a_system("one", {"20240101000000_a": READY}), a_system("other", {"20240101000000_b": READY})
    assert [*where([one, other], {"20240101000000_a": READY}).values()].count(None) == 1
    # The same extension may be wanted by both, and is made once; a function that is put back is not.
    wants = [a_system(name, {f"2024010{n}000000_x": CITEXT}) for n, name in enumerate(("one", "other"))]
    assert None not in where(wants, {"1_init": CITEXT + READY}).values()
    twice = a_system("one", {"20240101000000_x": CITEXT, "20240103000000_x": CITEXT})
    assert [*where([twice], {"1_init": CITEXT}).values()] == ["1_init", None]
    back = "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';\n"
    again = a_system("one", {"20240101000000_f": back, "20240103000000_f_again": back})
    assert [*where([again], {"20240101000000_f": back}).values()] == ["20240101000000_f", None]


# --- installed is what lies below the System's own folder ---------------------------------------

ALPHA = a_system(
    "alpha", files={"alpha.py": LONG + "alpha", "helper.py": LONG, "deep/more.py": LONG + "deep"}
)
BETA = a_system("beta", files={"beta.py": LONG + "beta", "helper.py": LONG})


def below(folder: str, package: Package) -> dict[str, bytes]:
    return {f"{folder}{path}": data for path, (_, data) in package.files.items()}


def published(*packages: Package, withdrawn: str = "") -> dict[str, dict[str, Release]]:
    made = [
        release("auth-system", "1.2.4").model_copy(
            update={
                "system": each.system,
                "version": each.manifest.version,
                "withdrawn": "bad" if each.system == withdrawn else None,
            }
        )
        for each in packages
    ]
    return by_system(made)


def refused(files: dict[str, bytes], *, withdrawn: str = "", without: tuple[str, ...] = ()) -> list[str]:
    packages = {each.system: each for each in (ALPHA, BETA)}
    library = published(*packages.values(), withdrawn=withdrawn)
    found = installed(library, files, {}, without, lambda each: packages[each.system])
    return [f"{each.reason} {each.cure}" for each in found.refusals]


def test_a_system_that_shares_a_file_with_another_is_not_installed() -> None:
    assert refused(below("systems/alpha/", ALPHA)) == []
    assert refused(below("systems/alpha/", ALPHA), withdrawn="beta") == []
    # A copy of the shared file elsewhere tells nothing of either.
    assert refused(below("systems/alpha/", ALPHA) | {"lib/helper.py": LONG.encode()}) == []
    assert len(refused(below("systems/alpha/", ALPHA) | below("lib/", BETA))) == 1
    assert refused(below("systems/alpha/", ALPHA) | below("lib/", BETA), withdrawn="beta") == []
    assert refused(below("systems/alpha/", ALPHA) | below("lib/", BETA), without=("beta",)) == []


@pytest.mark.parametrize("folder", ["", "prisma/", "src/the app/", "systems/", "systems/alfa/"])
@pytest.mark.parametrize("beside", ["prisma/schema.prisma", "other.txt"])
def test_the_cure_moves_a_systems_files_and_nothing_else(tmp_path: Path, folder: str, beside: str) -> None:
    files = below(folder, ALPHA) | {beside: b"ours", "prisma/migrations/1_a/migration.sql": b"SELECT 1"}
    found = elsewhere(ALPHA, files, ["alpha", "beta"])
    assert found is not None
    assert found.folder == folder
    assert f"git mv {folder.rstrip('/')} " not in found.moves or found.alone
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    shell = f"git init -q . && git add -A && {found.moves}"
    subprocess.run(shell, shell=True, check=True, cwd=tmp_path)
    assert (
        below("systems/alpha/", ALPHA).items()
        <= {
            str(path.relative_to(tmp_path)): path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file() and ".git" not in path.parts
        }.items()
    )
    assert (tmp_path / beside).read_bytes() == b"ours"
    assert (tmp_path / "prisma/migrations/1_a/migration.sql").is_file()


def test_line_ends_are_no_drift() -> None:
    crlf = {path: data.replace(b"\n", b"\r\n") for path, data in below("systems/alpha/", ALPHA).items()}
    sure = certain(candidates([ALPHA], crlf))
    assert sure is not None
    assert (sure.line_ends, sure.edited) == (3, ())


# --- where Prisma's files are -------------------------------------------------------------------

SCHEMA = 'datasource db {\n  provider = "postgresql"\n}\nmodel User {\n  id Int @id\n}\n'
PART = "model Post {\n  id Int @id\n}\n"
RELATED = "model Post {\n  id Int @id\n  u User?\n}\n"
MAIN_OF_MANY = SCHEMA.replace("@id\n", "@id\n  posts Post[]\n", 1)


def repository(*migrations: str, **texts: str) -> dict[str, bytes]:
    files = {path.replace("__", "/"): text.encode() for path, text in texts.items()}
    return files | {f"{folder}/20240101000000_init/migration.sql": b"SELECT 1" for folder in migrations}


def place(files: dict[str, bytes], wanted: str | None = None) -> Place:
    return find_place(files, wanted, None)


@pytest.mark.parametrize("db", ["prisma", "packages/db/prisma", "packages/prisma", "apps/web@2/prisma", "db"])
def test_one_file_becomes_a_folder_beside_its_migrations(db: str) -> None:
    found = place(repository(f"{db}/migrations", **{f"{db}/schema.prisma": SCHEMA}))
    assert found.paths == PrismaPaths(schemas=f"{db}/schema", migrations=f"{db}/migrations")
    assert list(found.schema) == [f"{db}/schema.prisma"]


@pytest.mark.parametrize(
    ("files", "schemas", "migrations"),
    [
        ({"schema.prisma": SCHEMA}, "schema", "migrations"),
        ({"db/schema/a.prisma": SCHEMA, "db/schema/b.prisma": PART}, "db/schema", "db/migrations"),
        ({"db/schema/a.prisma": SCHEMA, "db/schema/b.prisma": PART}, "db/schema", "db/schema/migrations"),
        # Read together: the main file refers to models of the others, or has none of its own.
        ({"db/schema.prisma": MAIN_OF_MANY, "db/models/post.prisma": RELATED}, "db", "db/migrations"),
        ({"db/schema.prisma": SCHEMA.split("model")[0], "db/user.prisma": PART}, "db", "db/migrations"),
        # Another database's schema beside it stays out.
        ({"db/schema.prisma": SCHEMA, "db/analytics.prisma": SCHEMA}, "db/schema", "db/migrations"),
        ({"db/main.prisma": SCHEMA}, "db/main", "db/migrations"),
        (
            {
                "packages/db/prisma.config.ts": "export default defineConfig({ schema: './models',"
                " /* migrations: {path: 'no'} */ migrations: { seed: 'x', path: \"sql/history\" } })",
                "packages/db/models/a.prisma": SCHEMA,
            },
            "packages/db/models",
            "packages/db/sql/history",
        ),
        (
            {
                "prisma.config.ts": 'schema: path.join("packages", "core", "main.prisma") // here',
                "packages/core/main.prisma": SCHEMA,
                "packages/core/z.prisma": SCHEMA,
            },
            "packages/core/main",
            "packages/core/migrations",
        ),
        (
            {
                ".config/prisma.ts": "export default { migrations: { path: 'db/history' } }",
                "prisma/schema.prisma": SCHEMA,
            },
            "prisma/schema",
            "db/history",
        ),
        (
            {
                "web/package.json": '{"prisma": {"schema": "data/tables"}}',
                "web/data/tables/a.prisma": SCHEMA,
                "web/data/tables/b.prisma": PART,
            },
            "web/data/tables",
            "web/data/migrations",
        ),
    ],
)
def test_every_layout_is_found(files: dict[str, str], schemas: str, migrations: str) -> None:
    found = place(repository(migrations, **files))
    assert found.paths == PrismaPaths(schemas=schemas, migrations=migrations)
    assert found.schema


TWO = repository(
    "packages/a/prisma/migrations",
    "packages/b/prisma/migrations",
    **{"packages/a/prisma/schema.prisma": SCHEMA, "packages/b/prisma/schema.prisma": SCHEMA},
)
SQLITE = SCHEMA.replace("postgresql", "sqlite")
CONTRACT = {"db/contract.prisma": SCHEMA, "db/migrations/1_x/migration.ts": "export default 1"}


def test_of_several_projects_the_maintainer_says_which() -> None:
    with pytest.raises(Reject) as refused:
        place(TWO)
    (only,) = refused.value.refusals
    assert "packages/a/prisma, packages/b/prisma" in only.reason
    wanted = only.cure.rpartition("--prisma ")[2]
    assert place(TWO, wanted).folder == "packages/a/prisma"
    for spelled in (
        "./packages/b/prisma/",
        "packages/b/prisma/schema.prisma",
        "packages/b/prisma/migrations",
    ):
        assert place(TWO, spelled).folder == "packages/b/prisma"
    # One for another database, or an installed System's own, is no question.
    assert place(TWO | {"packages/a/prisma/schema.prisma": SQLITE.encode()}).folder == "packages/b/prisma"
    schemas = {"prisma/schema.prisma": SCHEMA, "systems/x/prisma/schema.prisma": SCHEMA}
    assert place(repository("prisma/migrations", "systems/x/prisma/migrations", **schemas)).folder == "prisma"


@pytest.mark.parametrize(
    ("files", "wanted", "says"),
    [
        ({"README.md": b""}, None, "no .prisma file"),
        ({"packages/db/schema.prisma": SCHEMA.encode()}, None, "packages/db/schema.prisma has no migrations"),
        (TWO, "packages/c", "no Prisma project with migrations is there"),
        (repository("db/migrations", **{"db/schema.prisma": SQLITE}), None, "not for PostgreSQL"),
        (
            repository("db/migrations", **{"db/schema.prisma": SCHEMA, "db/schema/a.prisma": SCHEMA}),
            None,
            "both db/schema.prisma and the folder db/schema",
        ),
        (repository("db/migrations") | {"db/schema.prisma": b"\xff"}, None, "cannot be read"),
        (repository(**CONTRACT), None, "a project of Prisma 8"),
        (repository(**{"db/contract.json": '{"storageHash": "x"}'}), None, "a project of Prisma 8"),
        (repository("db/migrations", **CONTRACT, **{"db/schema.prisma": SCHEMA}), None, "Prisma 8"),
        (TWO | repository(**CONTRACT), "db", "a project of Prisma 8"),
    ],
)
def test_what_cannot_be_adopted_is_refused_with_what_was_seen(
    files: dict[str, bytes], wanted: str | None, says: str
) -> None:
    with pytest.raises(Reject, match=says) as refused:
        place(files, wanted)
    assert all(each.cure and each.field for each in refused.value.refusals)


def test_prisma_8_in_another_folder_does_not_matter() -> None:
    assert place(repository("prisma/migrations", **CONTRACT, **{"prisma/schema.prisma": SCHEMA})).folder == (
        "prisma"
    )
