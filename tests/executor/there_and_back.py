"""Random pairs of Prisma schemas with rows: up by Prisma's own differ, and down by ours.

As a command it tries as many as are asked for: `python -m tests.executor.there_and_back 500 [seed]`.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from local.postgres import EmbeddedPostgres
from services.executor.clients.postgres import create_database, schema_description, session
from services.executor.clients.probes import ask
from services.executor.clients.reach import reach_of
from services.executor.clients.rehearsal import Rehearsed, Step, rehearse
from services.executor.clients.row_digests import digests
from services.executor.domain.marks import mark
from shared.contracts.impact import StatementImpact
from shared.prisma.migrating import diff
from shared.sql.classing import Scene, classify
from shared.sql.reading import BORDER
from shared.sql.script import Statement, read_statements

_TYPES = (
    "String", "String", "Int", "BigInt", "Boolean", "DateTime", "Float", "Json", "Decimal", "Kind",
    "String @db.VarChar(8)", "String @db.Uuid", "Int @db.SmallInt", "Bytes", "DateTime @db.Date",
)  # fmt: skip
_DEFAULTS = {
    "String": '"x"', "Int": "3", "BigInt": "4", "Boolean": "true", "DateTime": "now()", "Kind": "A",
}  # fmt: skip
_MODELS = ("Alpha", "Beta", "Gamma")
_FIELDS = ("one", "two", "three", "four")


@dataclass(frozen=True)
class Schema:
    """Models to fields to their declarations, and the values of the one enum."""

    models: dict[str, dict[str, str]]
    labels: tuple[str, ...]

    @property
    def files(self) -> dict[str, str]:
        blocks = [
            f"model {name} {{\n  id Int @id\n"
            + "".join(f"  {field} {declared}\n" for field, declared in fields.items())
            + "}\n"
            for name, fields in self.models.items()
        ]
        labels = "\n  ".join(self.labels)
        return {"schema.prisma": f"enum Kind {{\n  {labels}\n}}\n" + "".join(blocks)}


def random_schema(chance: random.Random, like: Schema | None = None) -> Schema:
    """Any schema; with `like` one that differs from it in some places."""
    if like is None:
        models = {name: _fields(chance) for name in chance.sample(_MODELS, chance.randint(1, 3))}
        return Schema(_related(chance, models), tuple("ABC"[: chance.randint(1, 3)]))
    models = {name: dict(fields) for name, fields in like.models.items()}
    for fields in models.values():
        for field in [each for each in fields if each.startswith("to_") or "@relation" in fields[each]]:
            del fields[field]
        for field in list(fields):
            if field.endswith("Id"):
                del fields[field]
    for _ in range(chance.randint(1, 4)):
        name = chance.choice(_MODELS)
        if name not in models:
            models[name] = _fields(chance)
        elif len(models) > 1 and chance.random() < 0.1:
            del models[name]
        elif models[name] and chance.random() < 0.3:
            del models[name][chance.choice(list(models[name]))]
        else:
            models[name][chance.choice(_FIELDS)] = _declaration(chance)
    labels = like.labels if chance.random() < 0.6 else tuple("ABCD"[: chance.randint(1, 4)])
    return Schema(_related(chance, models), labels)


def _fields(chance: random.Random) -> dict[str, str]:
    return {field: _declaration(chance) for field in chance.sample(_FIELDS, chance.randint(0, 4))}


def _declaration(chance: random.Random) -> str:
    kind, _, native = chance.choice(_TYPES).partition(" ")
    optional = "?" if chance.random() < 0.5 else ""
    parts = [kind + optional, native]
    if kind in _DEFAULTS and not native and chance.random() < 0.4:
        parts.append(f"@default({_DEFAULTS[kind]})")
    if kind not in ("Json", "Bytes", "Boolean", "Kind") and chance.random() < 0.2:
        parts.append("@unique")
    return " ".join(part for part in parts if part)


def _related(chance: random.Random, models: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Sometimes one model refers to another, which Prisma wants said on both sides."""
    names = list(models)
    if len(names) > 1 and chance.random() < 0.5:
        child, parent = names[0], names[1]
        models[child]["to_parent"] = f"{parent}? @relation(fields: [parentId], references: [id])"
        models[child]["parentId"] = "Int?"
        models[parent]["to_children"] = f"{child}[]"
    return models


async def try_pair(base: str, shadow: str, chance: random.Random) -> str:
    """One pair, in two databases emptied for it; what came of it. Raises AssertionError for a lie."""
    before = random_schema(chance)
    after = random_schema(chance, before)
    statements = read_statements(await diff(before.files, after.files))
    if not statements:
        return "no difference"
    told = json.dumps([before.files, after.files])
    made = await diff({}, before.files)
    for url in (base, shadow):
        async with session(url) as connection:
            await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            await connection.execute(made)
    async with session(base) as connection:
        await _fill(connection, chance)
    rehearsed = (await rehearse(shadow, [Step("up", statements, None)]))["up"]
    if rehearsed.error is not None:
        # Prisma drops an enum's old type before a column of it: its own SQL fails, and that is told.
        assert await _fails_at(base, statements) is not None, (told, rehearsed)
        return "fails on an empty database, as told"
    assert rehearsed.left == (), (told, rehearsed)
    return await _up_and_down(base, statements, rehearsed, told)


async def _fails_at(url: str, statements: tuple[Statement, ...]) -> Statement | None:
    async with session(url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            for statement in statements:
                try:
                    if statement.actions != (BORDER,):
                        await connection.execute(statement.text)
                except asyncpg.PostgresError:
                    return statement
        finally:
            await transaction.rollback()
    return None


async def _up_and_down(url: str, statements: tuple[Statement, ...], rehearsed: Rehearsed, told: str) -> str:
    down_sql = rehearsed.down_sql
    answers = await ask(url, statements)
    impacts = classify(statements, Scene())
    impacts = tuple(
        StatementImpact.model_validate(each.model_dump() | {"probes": found})
        for each, found in zip(impacts, answers.probes, strict=True)
    )
    marked, _ = mark(statements, impacts, Scene(), await reach_of(url), rehearsed.gone)
    verdicts = {probe.verdict for found in answers.probes for probe in found}
    schema = await schema_description(url)
    async with session(url) as connection:
        kept = await _tables(connection)
        rows = await digests(connection, kept)
        transaction = connection.transaction()
        await transaction.start()
        try:
            for statement in statements:
                if statement.actions != (BORDER,):
                    await connection.execute(statement.text)
        except asyncpg.PostgresError as error:
            await transaction.rollback()
            if not verdicts & {"would fail", "unknown"}:
                raise AssertionError((told, answers)) from error
            return "fails, as foretold" if "would fail" in verdicts else "fails, not known before"
        await transaction.commit()
        assert "would fail" not in verdicts, (told, answers)
        try:
            await connection.execute(down_sql)
        except asyncpg.PostgresError as error:
            if marked == "reversible":
                raise AssertionError((told, down_sql)) from error
            return f"{marked}: the way down needs the rows that went"
        assert await schema_description(url) == schema, (told, down_sql)
        same = await digests(connection, kept) == rows
    assert same or marked != "reversible", (told, down_sql, answers)
    return f"{marked}: {'the same rows' if same else 'other rows'}"


async def _tables(connection: asyncpg.Connection) -> dict[tuple[str, str], frozenset[str]]:
    found = await connection.fetch(
        "SELECT table_name, array_agg(column_name::text) AS columns FROM information_schema.columns"
        " WHERE table_schema = 'public' GROUP BY table_name"
    )
    return {("public", row["table_name"]): frozenset(row["columns"]) for row in found}


async def _fill(connection: asyncpg.Connection, chance: random.Random) -> None:
    """A few rows into every table; what is unique has other values in each."""
    await connection.execute("SET session_replication_role = replica")
    for (_, table), _columns in (await _tables(connection)).items():
        columns = await connection.fetch(
            "SELECT column_name, data_type, is_nullable = 'YES' AS nullable, udt_name"
            " FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1",
            table,
        )
        for number in range(chance.randint(0, 4)):
            values = ", ".join(_value(row, number, chance) for row in columns)
            names = ", ".join(f'"{row["column_name"]}"' for row in columns)
            await connection.execute(f'INSERT INTO "{table}" ({names}) VALUES ({values})')
    await connection.execute("RESET session_replication_role")


def _value(column: asyncpg.Record, number: int, chance: random.Random) -> str:
    name, kind = column["column_name"], column["data_type"]
    if column["nullable"] and (name == "parentId" or chance.random() < 0.3):
        return "NULL"
    match kind:
        case "text" | "character varying":
            return f"'{chance.choice(['v', '7', 'long one'])[:7]}{number}'"
        case "uuid":
            return f"'00000000-0000-0000-0000-00000000000{number}'"
        case "boolean":
            return "true"
        case "jsonb":
            return f"'[{number}]'"
        case "bytea":
            return f"'\\x0{number}'"
        case "USER-DEFINED":
            return f'(enum_range(NULL::"Kind"))[1 + {number} % cardinality(enum_range(NULL::"Kind"))]'
        case kind if "time" in kind or kind == "date":
            return f"'2026-01-0{number + 1}'"
        case "bigint" if chance.random() < 0.3:
            return str(5_000_000_000 + number)
        case "integer" if name != "id" and chance.random() < 0.3:
            return str(70_000 + number)
        case _:
            return str(number)


async def main(pairs: int, seed: int) -> None:
    chance = random.Random(seed)
    counted: Counter[str] = Counter()
    with (
        TemporaryDirectory(prefix="upgradepath-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", fsync=False) as server,
    ):
        for name in ("base", "shadow"):
            await create_database(server.url(), name)
        for _ in range(pairs):
            counted[await try_pair(server.url("base"), server.url("shadow"), chance)] += 1
    for what, number in counted.most_common():
        print(f"{number:6}  {what}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
