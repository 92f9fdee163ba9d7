"""Every printed difference runs in a database with the schema before, and leads to the schema after."""

import re
from typing import Any

import asyncpg
import pytest

from shared.prisma.engine import EngineError
from shared.prisma.migrating import diff, diff_from_database
from shared.prisma.runnable import migrations_of

MODEL = "model M {\n  id Int @id\n  other Int?\n  %s\n}\n"
ENUM = "enum E {\n  %s\n}\n"
# The schemas before and after, and how many migrations lead there.
DIFFERENCES = {
    "a new value is the default": (
        ENUM % "A" + MODEL % "e E @default(A)",
        ENUM % "A\n  B" + MODEL % "e E @default(B)",
        2,
    ),
    "new values in a new list and a new table": (
        ENUM % "A" + MODEL % "e E @default(A)",
        ENUM % "A\n  B\n  C"
        + MODEL % "e E @default(C)\n  f E[] @default([B])"
        + "model N {\n  id E @id @default(B)\n}\n",
        2,
    ),
    "a new value that nobody uses": (
        ENUM % "A" + MODEL % "e E @default(A)",
        ENUM % "A\n  B" + MODEL % "e E @default(A)\n  f Int?",
        1,
    ),
    "a value goes, of a list too": (
        ENUM % "A\n  B" + MODEL % "e E @default(B)\n  f E[] @default([A, B])",
        ENUM % "A\n  C" + MODEL % "e E @default(C)\n  f E[] @default([C])",
        1,
    ),
    "a sequence goes": (MODEL % "n Int @default(autoincrement())", MODEL % "n Int", 1),
    "a sequence with a long name goes": (
        MODEL % f"{'n' * 62} Int @default(autoincrement())",
        MODEL % f"{'n' * 62} Int",
        1,
    ),
    "a sequence moves": (
        MODEL % "n Int @default(autoincrement())\n  m Int",
        MODEL % "n Int\n  m Int @default(autoincrement())",
        1,
    ),
    "a counted key grows": (
        "model M {\n  id Int @id @default(autoincrement())\n}\n",
        "model M {\n  id BigInt @id @default(autoincrement())\n}\n",
        1,
    ),
    "a counted key grows from small": (
        "model M {\n  id Int @id @default(autoincrement()) @db.SmallInt\n}\n",
        "model M {\n  id Int @id @default(autoincrement())\n}\n",
        1,
    ),
    "a counted key becomes text": (
        "model M {\n  id Int @id @default(autoincrement())\n}\n",
        "model M {\n  id String @id @default(uuid())\n}\n",
        1,
    ),
    "text becomes a number": (MODEL % 'e String @default("1")', MODEL % "e Int @default(1)", 1),
    "text becomes an enum": (MODEL % 'e String @default("A")', ENUM % "A" + MODEL % "e E @default(A)", 1),
    "a default with quotes": (MODEL % "e String", MODEL % 'e String @default("it\'s \\"x\\" \\\\")', 1),
    "a key changes its type under its references": (
        "model A {\n  id Int @id\n  bs B[]\n}\nmodel B {\n  id Int @id\n  aId Int\n"
        "  a A @relation(fields: [aId], references: [id])\n}\n",
        "model A {\n  id String @id\n  bs B[]\n}\nmodel B {\n  id Int @id\n  aId String\n"
        "  a A @relation(fields: [aId], references: [id])\n}\n",
        1,
    ),
}
UNREADABLE = {
    "a quote in a column": MODEL % 'e Int? @map("a\\"b")',
    "a quote in an index": MODEL % '@@index([other], map: "a\\"b")',
    "a quote in a value": 'enum E {\n  A @map("it\'s")\n}\n' + MODEL % "e E?",
}


@pytest.mark.parametrize("name", DIFFERENCES)
async def test_what_is_printed_runs_and_leads_there(new_database: Any, name: str) -> None:
    before, after, migrations = DIFFERENCES[name]
    old, new = {"schema.prisma": before}, {"schema.prisma": after}
    sql, url = await diff(old, new), await new_database()
    found = migrations_of(sql)
    assert len(found) == migrations
    for script in (await diff({}, old), *found):
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(script)
        finally:
            await connection.close()
    assert await diff_from_database(url, new) == ""


@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_postgresql_does_not_read_is_not_printed(name: str) -> None:
    with pytest.raises(EngineError, match="a quote in a name is not written as one: rename it"):
        await diff({"schema.prisma": MODEL % ""}, {"schema.prisma": UNREADABLE[name]})


async def test_a_column_that_rows_would_have_no_value_in_is_foretold() -> None:
    printed = await diff(
        {"a.prisma": MODEL % ""}, {"a.prisma": MODEL % "e Int\n  f Int?\n  g Int @default(1)"}
    )
    (word,) = re.findall(r"-- It fails where there are rows.*", printed)
    assert "no value in e. Give a default." in word


async def test_a_type_of_an_extension_comes_with_it() -> None:
    before, after = {"a.prisma": MODEL % "e String"}, {"a.prisma": MODEL % "e String @db.Citext"}
    assert (await diff(before, after)).startswith("CREATE EXTENSION IF NOT EXISTS citext;\n")
