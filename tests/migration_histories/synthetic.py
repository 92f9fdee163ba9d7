"""A product's history made by code: releases of the kinds that real ones have, the good and the bad. Pure.

The same seed gives the same history. A bad release says where it must be stopped; the one after it goes on
without it, as a publisher would who takes the advice.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Stopped = Literal["publish", "review", "staging", "replay"]
_BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Scripted:
    """One migration's folder and bytes; a contracting one runs in production only after the activation."""

    name: str
    sql: str
    contracting: bool = False


@dataclass(frozen=True)
class Release:
    """The whole history that a package carries, and what is new in it."""

    kind: str
    migrations: tuple[Scripted, ...]
    new: tuple[Scripted, ...]
    stopped: Stopped | None = None
    said: str = ""
    """What the refusal must speak of."""
    meanwhile: str = ""
    """What somebody does to production by hand before it, and `undo` after it."""
    undo: str = ""


@dataclass
class Table:
    """A table as the history has it so far: column to kind of value."""

    name: str
    columns: dict[str, str] = field(default_factory=dict)
    viewed: bool = False
    """A view reads it, so that PostgreSQL lets no column of it change its type, whatever the rows are."""


_VALUES = {
    "text": "'v' || n",
    "unique": "'{name}-' || n",
    "same": "'same'",
    "maybe": "CASE WHEN n % 3 = 0 THEN NULL ELSE 'm' || n END",
    "int": "n",
    "json": "jsonb_build_object('n', n)",
    "time": "timestamptz '2024-01-01' + n * interval '1 minute'",
    "vector": "'[1,2,3]'",
}


class History:
    """Makes releases, one after another; what is stopped leaves no trace in the next."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._tables: list[Table] = []
        self._kept: list[Scripted] = []
        self._at = _BEGINNING
        self._count = 0

    def releases(self, migrations: int, *, every_kind: bool = True) -> Iterator[Release]:
        """Until so many good migrations are there, and every kind has come if that is wanted."""
        yield self._good(self._new_table, "first")
        good, bad = self._shuffled(GOOD), self._shuffled(BAD)
        while len(self._kept) < migrations or (bad and every_kind):
            size = self._random.randint(1, 5)
            makers = [good.pop() if good else self._random.choice(GOOD) for _ in range(size)]
            kinds = "+".join(maker.__name__.strip("_") for maker in makers)
            yield self._good(
                lambda history, chosen=makers: [m for make in chosen for m in make(history)], kinds
            )
            if bad:
                yield bad.pop()(self)
            elif self._random.random() < 0.4:
                yield self._random.choice(BAD)(self)

    def rows(self, start: int, stop: int) -> str:
        """Rows of every table, the numbers from `start` up to `stop`."""
        statements = []
        for table in self._tables:
            names = ", ".join(["id", *(f'"{name}"' for name in table.columns)])
            values = ", ".join(
                ["n", *(_VALUES[kind].format(name=name) for name, kind in table.columns.items())]
            )
            statements.append(
                f"INSERT INTO {table.name} ({names}) SELECT {values}"
                f" FROM generate_series({start}, {stop - 1}) n;"
            )
        return "\n".join(statements)

    def _shuffled(self, kinds: "list[Any]") -> "list[Any]":
        return self._random.sample(kinds, len(kinds))

    def _good(self, make: "Make | Callable[[History], list[Scripted]]", kind: str) -> Release:
        new = make(self)
        self._kept += new
        return Release(kind, tuple(self._kept), tuple(new))

    # --- for those who make migrations -----------------------------------------------------------

    def name(self, title: str) -> str:
        """The next folder; some people write spaces and capitals."""
        self._at += timedelta(minutes=self._random.randint(1, 5000))
        self._count += 1
        return f"{self._at:%Y%m%d%H%M%S}_{title}"

    def number(self) -> int:
        self._count += 1
        return self._count

    def any_table(self) -> Table:
        """One in Prisma's own schema, where a name needs no other."""
        return self._random.choice([table for table in self._tables if "." not in table.name])

    def unviewed_table(self) -> Table:
        """One whose columns may change their type."""
        return self._random.choice(
            [each for each in self._tables if "." not in each.name and not each.viewed]
        )

    def add_table(self, table: Table) -> None:
        self._tables.append(table)

    def remove_table(self, table: Table) -> None:
        self._tables.remove(table)

    @property
    def tables(self) -> list[Table]:
        return self._tables

    @property
    def kept(self) -> list[Scripted]:
        return self._kept

    @staticmethod
    def _new_table(history: "History") -> list[Scripted]:
        return _table(history)

    def bad(self, kind: str, sql: str, stopped: Stopped, said: str) -> Release:
        """A release whose last migration is this script."""
        script = Scripted(self.name(kind), sql)
        return Release(kind, (*self._kept, script), (script,), stopped, said)


Make = Callable[[History], list[Scripted]]


def _one(history: History, title: str, sql: str, *, contracting: bool = False) -> list[Scripted]:
    return [Scripted(history.name(title), sql, contracting)]


# --- the good -------------------------------------------------------------------------------------


def _table(history: History) -> list[Scripted]:
    number = history.number()
    table = Table(f'"T{number}"', {"label": "text", "code": "unique", "kind": "same", "note": "maybe"})
    parent = history.any_table().name if history.tables else None
    reference = f',\n    "parent" INTEGER REFERENCES {parent} (id)' if parent else ""
    history.add_table(table)
    return _one(
        history,
        f"create_t{number}",
        f"-- CreateTable\nCREATE TABLE {table.name} (\n    id INTEGER NOT NULL PRIMARY KEY,\n"
        '    "label" TEXT NOT NULL,\n'
        f'    "code" TEXT NOT NULL,\n    "kind" TEXT,\n    "note" TEXT{reference}\n);\n',
    )


def _column(history: History) -> list[Scripted]:
    table, name = history.any_table(), f"c{history.number()}"
    kind, sql = history._random.choice(
        [("text", "TEXT"), ("int", "INTEGER NOT NULL DEFAULT 7"), ("json", "JSONB"), ("time", "TIMESTAMPTZ")]
    )
    table.columns[name] = kind
    return _one(
        history, f"add {name.upper()} with spaces", f'ALTER TABLE {table.name} ADD COLUMN "{name}" {sql};'
    )


def _backfill(history: History) -> list[Scripted]:
    table, name = history.any_table(), f"b{history.number()}"
    table.columns[name] = "text"
    return _one(
        history,
        "backfill",
        f'ALTER TABLE {table.name} ADD COLUMN "{name}" TEXT;\n'
        f'UPDATE {table.name} SET "{name}" = upper("label");\n'
        f'ALTER TABLE {table.name} ALTER COLUMN "{name}" SET NOT NULL;\n',
    )


def _renamed_by_copy(history: History) -> list[Scripted]:
    table, name = history.any_table(), f"r{history.number()}"
    table.columns[name] = "text"
    alter = f"ALTER TABLE {table.name}"
    return [
        *_one(
            history,
            "rename_expand",
            f'{alter} ADD COLUMN "{name}" TEXT;\nUPDATE {table.name} SET "{name}" = "label";\n'
            f'{alter} ALTER COLUMN "{name}" SET NOT NULL;',
        ),
        *_one(
            history,
            "rename_contract",
            f'{alter} DROP COLUMN "label";\n{alter} ADD COLUMN "label" TEXT NOT NULL DEFAULT \'again\';',
            contracting=True,
        ),
    ]


def _enum(history: History) -> list[Scripted]:
    table, number = history.any_table(), history.number()
    return [
        *_one(
            history,
            f"enum_{number}",
            f"CREATE TYPE \"E{number}\" AS ENUM ('A', 'B');\n"
            f'ALTER TABLE {table.name} ADD COLUMN "e{number}" "E{number}" DEFAULT \'A\';\n',
        ),
        *_one(history, f"enum_{number}_value", f"ALTER TYPE \"E{number}\" ADD VALUE 'C';"),
        *_one(
            history, f"enum_{number}_use", f"UPDATE {table.name} SET \"e{number}\" = 'C' WHERE id % 2 = 0;"
        ),
    ]


def _concurrently(history: History) -> list[Scripted]:
    table, number = history.any_table(), history.number()
    return [
        *_one(
            history,
            "index",
            f'-- CreateIndex\nCREATE INDEX CONCURRENTLY "I{number}" ON {table.name}("label");\n',
        ),
        *_one(
            history,
            "unique_index",
            f'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "U{number}" ON {table.name}("code");',
        ),
        *_one(history, "drop_index", f'DROP INDEX CONCURRENTLY "I{number}"'),
    ]


def _function(history: History) -> list[Scripted]:
    table, number = history.any_table(), history.number()
    return _one(
        history,
        "trigger",
        f"CREATE OR REPLACE FUNCTION f{number}() RETURNS trigger AS $body$\nBEGIN\n"
        "    NEW.\"kind\" := coalesce(NEW.\"kind\", 'it''s; so'); -- a; comment\n"
        "    RETURN NEW;\nEND;\n$body$ LANGUAGE plpgsql;\n"
        f"CREATE TRIGGER g{number} BEFORE INSERT ON {table.name} FOR EACH ROW EXECUTE FUNCTION f{number}();\n"
        f"CREATE FUNCTION h{number}(a int) RETURNS int LANGUAGE sql"
        " BEGIN ATOMIC SELECT CASE a WHEN 1 THEN 2 END; SELECT a + 1; END;\n",
    )


def _view(history: History) -> list[Scripted]:
    # A table stays for those who change a type.
    table, made = history.unviewed_table(), _table(history)
    number, table.viewed = history.number(), True
    return made + _one(
        history,
        "views",
        f'CREATE VIEW v{number} AS SELECT id, "code" FROM {table.name};\n'
        f"CREATE MATERIALIZED VIEW m{number} AS SELECT count(*) AS n FROM v{number};\n"
        f"COMMENT ON VIEW v{number} IS 'made; /* not closed';\n",
    )


def _own_transactions(history: History) -> list[Scripted]:
    table, name = history.any_table(), f"x{history.number()}"
    table.columns[name] = "int"
    return _one(
        history,
        "own_transactions",
        f'BEGIN;\nALTER TABLE {table.name} ADD COLUMN "{name}" INTEGER;\nCOMMIT;\n\n'
        f'START TRANSACTION;\nUPDATE {table.name} SET "{name}" = id;\nEND;\n-- the end\n',
    )


def _do_block(history: History) -> list[Scripted]:
    table = history.any_table()
    return _one(
        history,
        "do",
        "DO $$\nDECLARE r record;\nBEGIN\n    FOR r IN SELECT 1 AS one LOOP\n"
        f"        EXECUTE 'UPDATE {table.name} SET \"kind\" = ''k'' WHERE id = ' || r.one;\n"
        "    END LOOP;\nEND\n$$;",
    )


def _constraint(history: History) -> list[Scripted]:
    table, number = history.any_table(), history.number()
    return [
        *_one(
            history, "check", f"ALTER TABLE {table.name} ADD CONSTRAINT k{number} CHECK (id > -1) NOT VALID;"
        ),
        *_one(history, "validate", f"ALTER TABLE {table.name} VALIDATE CONSTRAINT k{number};"),
    ]


def _odd_files(history: History) -> list[Scripted]:
    table, name = history.any_table(), f"o{history.number()}"
    table.columns[name] = "text"
    return [
        *_one(history, "This is (empty)", "-- This is an empty migration."),
        *_one(history, "dos", f'-- dos\r\nALTER TABLE {table.name}\r\n  ADD COLUMN "{name}" TEXT;\r\n'),
        *_one(history, "umläute", f"COMMENT ON TABLE {table.name} IS 'für Müller'"),
        *_one(
            history,
            "dumped",
            "SET statement_timeout = 0;\nSELECT pg_catalog.set_config('search_path', '', false);\n"
            f'CREATE TABLE public."d{name}" (id integer);\nSET default_table_access_method = heap;\n',
        ),
    ]


def _other_schema(history: History) -> list[Scripted]:
    number = history.number()
    table = Table(
        f'"S {number}".things', {"label": "text", "code": "unique", "kind": "same", "note": "maybe"}
    )
    history.add_table(table)
    return [
        *_one(
            history,
            "schema",
            f'CREATE SCHEMA IF NOT EXISTS "S {number}";\nCREATE TABLE {table.name} (id int PRIMARY KEY,'
            ' "label" text NOT NULL, "code" text NOT NULL, "kind" text, "note" text);',
        ),
        *_one(
            history, "schema_index", f'CREATE INDEX CONCURRENTLY by_code_{number} ON {table.name} ("code")'
        ),
    ]


def _extension(history: History) -> list[Scripted]:
    table, name = history.any_table(), f"e{history.number()}"
    table.columns[name] = "vector"
    return _one(
        history,
        "extension",
        f'CREATE EXTENSION IF NOT EXISTS vector;\nALTER TABLE {table.name} ADD COLUMN "{name}" vector(3);',
    )


def _widened(history: History) -> list[Scripted]:
    table, name = history.any_table(), f"w{history.number()}"
    table.columns[name] = "int"
    return [
        *_one(history, "narrow", f'ALTER TABLE {table.name} ADD COLUMN "{name}" INTEGER;'),
        *_one(history, "widen", f'ALTER TABLE {table.name} ALTER COLUMN "{name}" SET DATA TYPE BIGINT;'),
    ]


def _destructive(history: History) -> list[Scripted]:
    number = history.number()
    name = f'"Gone{number}"'
    return [
        *_one(
            history,
            "make",
            f"CREATE TABLE {name} (id int PRIMARY KEY, a text);\nINSERT INTO {name} VALUES (1, 'a');",
        ),
        *_one(history, "drop_column", f"ALTER TABLE {name} DROP COLUMN a;", contracting=True),
        *_one(history, "drop_table", f"DROP TABLE {name};", contracting=True),
    ]


GOOD: list[Make] = [
    _table, _column, _backfill, _renamed_by_copy, _enum, _concurrently, _function, _view, _own_transactions,
    _do_block, _constraint, _odd_files, _other_schema, _extension, _widened, _destructive,
]  # fmt: skip


# --- the bad --------------------------------------------------------------------------------------


def _edited(history: History) -> Release:
    kept = list(history.kept)
    kept[0] = Scripted(kept[0].name, kept[0].sql + "-- corrected later\n", kept[0].contracting)
    return Release("edited", tuple(kept), (), "publish", "never changes")


def _renamed(history: History) -> Release:
    kept = list(history.kept)
    kept[-1] = Scripted(f"{kept[-1].name}_better", kept[-1].sql, kept[-1].contracting)
    return Release("renamed", tuple(kept), (), "publish", "is gone")


def _twelve_missing(history: History) -> Release:
    return Release("twelve missing", tuple(history.kept[:-12]), (), "publish", "is gone")


def _late(history: History) -> Release:
    late = Scripted("20240101000000_late", "SELECT 1;")
    return Release(
        "late",
        tuple(sorted((*history.kept, late), key=lambda m: m.name)),
        (late,),
        "publish",
        "stands before",
    )


def _not_null(history: History) -> Release:
    sql = f'ALTER TABLE {history.any_table().name} ADD COLUMN "must" TEXT NOT NULL;'
    return history.bad("not_null", sql, "staging", "contains null values")


def _set_not_null(history: History) -> Release:
    sql = f'ALTER TABLE {history.any_table().name} ALTER COLUMN "note" SET NOT NULL;'
    return history.bad("set_not_null", sql, "staging", "contains null values")


def _duplicates(history: History) -> Release:
    sql = f'CREATE UNIQUE INDEX "twice" ON {history.any_table().name}("kind");'
    return history.bad("duplicates", sql, "staging", "could not create unique index")


def _duplicates_concurrently(history: History) -> Release:
    sql = f'CREATE UNIQUE INDEX CONCURRENTLY "twice" ON {history.any_table().name}("kind");'
    return history.bad("duplicates_concurrently", sql, "staging", "could not create unique index")


def _narrowed(history: History) -> Release:
    alter = f'ALTER TABLE {history.unviewed_table().name} ALTER COLUMN "code"'
    sql = f'{alter} SET DATA TYPE INTEGER USING "code"::integer;'
    return history.bad("narrowed", sql, "staging", "invalid input syntax")


def _shortened(history: History) -> Release:
    sql = f'ALTER TABLE {history.unviewed_table().name} ALTER COLUMN "code" SET DATA TYPE VARCHAR(2);'
    return history.bad("shortened", sql, "staging", "too long")


def _orphans(history: History) -> Release:
    table = history.any_table().name
    sql = f'ALTER TABLE {table} ADD COLUMN "whose" INTEGER DEFAULT -5 REFERENCES {table} (id);'
    return history.bad("orphans", sql, "staging", "foreign key")


def _violated(history: History) -> Release:
    sql = f"ALTER TABLE {history.any_table().name} ADD CONSTRAINT few CHECK (id < 0);"
    return history.bad("violated", sql, "staging", "violated by some row")


def _half_failing(history: History) -> Release:
    update = f"UPDATE {history.any_table().name} SET \"kind\" = 'half';"
    sql = f"{update}\nCREATE TABLE half (id int);\nSELECT 1 / 0;"
    return history.bad("half_failing", sql, "staging", "division by zero")


def _unsafe_enum(history: History) -> Release:
    first = Scripted(history.name("mood"), "CREATE TYPE mood AS ENUM ('low');")
    sql = "ALTER TYPE mood ADD VALUE 'high';\nCREATE TABLE moods (m mood DEFAULT 'high');\n"
    sql += "INSERT INTO moods DEFAULT VALUES;"
    second = Scripted(history.name("mood_use"), sql)
    return Release(
        "unsafe enum", (*history.kept, first, second), (first, second), "staging", "unsafe use of new value"
    )


def _nowhere(history: History) -> Release:
    return history.bad("nowhere", 'ALTER TABLE "Never" ADD COLUMN "x" TEXT;', "staging", "does not exist")


def _depends_on_rows(history: History) -> Release:
    table = history.any_table().name
    sql = f"DO $$ BEGIN IF EXISTS (SELECT FROM {table}) THEN CREATE TABLE sometimes (id int); END IF; END $$;"
    return history.bad("depends_on_rows", sql, "replay", "sometimes")


def _extension_missing(history: History) -> Release:
    return history.bad(
        "extension_missing", "CREATE EXTENSION IF NOT EXISTS postgis;", "review", "not available"
    )


def _type_missing(history: History) -> Release:
    sql = f'ALTER TABLE {history.any_table().name} ADD COLUMN "place" geography(Point);'
    return history.bad("type_missing", sql, "review", "comes with extension postgis")


def _psql(history: History) -> Release:
    return history.bad("psql", "\\set ON_ERROR_STOP on\nSELECT 1;", "publish", "psql's")


def _copied_rows(history: History) -> Release:
    sql = f"COPY {history.any_table().name} (id) FROM stdin;\n1\n2\n\\.\n"
    return history.bad("copied_rows", sql, "publish", "nobody who sends")


def _mixed(history: History) -> Release:
    table = history.any_table().name
    sql = f'ALTER TABLE {table} ADD COLUMN "z" TEXT;\nCREATE INDEX CONCURRENTLY "zi" ON {table}("z");'
    return history.bad("mixed", sql, "publish", "cannot run in a transaction")


def _open(history: History) -> Release:
    return history.bad("open", "BEGIN;\nSELECT 1;\n", "publish", "BEGIN has no COMMIT")


def _mark(history: History) -> Release:
    return history.bad("mark", "\ufeffSELECT 1;", "publish", "byte order mark")


def _by_hand(history: History) -> Release:
    bad = history.bad("by_hand", "SELECT 1;", "review", "no such folder")
    return Release(
        bad.kind, bad.migrations, bad.new, bad.stopped, bad.said,
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)"
        " VALUES ('by hand', 'x', '20990101000000_by_hand', now(), 1)",
        "DELETE FROM _prisma_migrations WHERE id = 'by hand'",
    )  # fmt: skip


def _failed_by_prisma(history: History) -> Release:
    bad = history.bad("failed_by_prisma", "SELECT 1;", "review", "P3009")
    return Release(
        bad.kind, bad.migrations, bad.new, bad.stopped, bad.said,
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, logs)"
        " VALUES ('failed', 'x', '20990101000000_failed', 'it broke')",
        "DELETE FROM _prisma_migrations WHERE id = 'failed'",
    )  # fmt: skip


BAD: list[Callable[[History], Release]] = [
    _edited, _renamed, _twelve_missing, _late, _not_null, _set_not_null, _duplicates,
    _duplicates_concurrently, _narrowed, _shortened, _orphans, _violated, _half_failing,
    _unsafe_enum, _nowhere, _depends_on_rows,
    _extension_missing, _type_missing, _psql, _copied_rows, _mixed, _open, _mark, _by_hand, _failed_by_prisma,
]  # fmt: skip
