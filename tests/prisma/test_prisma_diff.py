"""Prisma's own differ, without a database."""

import asyncio

import pytest
from wasmtime._func import FUNCTIONS

from shared.prisma.engine import EngineError, SchemaEngine
from shared.prisma.migrating import Offline, diff

BEFORE = {"a.prisma": "model A {\n  id Int @id\n}\n"}
AFTER = {
    "a.prisma": """
enum Kind {
  X
  Y
}
model A {
  id   Int     @id
  name String?
  kind Kind    @default(X)
  bs   B[]
  @@map("as")
}
""",
    "b.prisma": """
model B {
  id  Int @id
  a   A   @relation(fields: [aId], references: [id])
  aId Int
}
""",
}


async def test_the_same_schema_differs_in_nothing() -> None:
    assert await diff(AFTER, AFTER) == ""
    assert await diff({}, {}) == ""


async def test_there_and_back() -> None:
    there = await diff(BEFORE, {"a.prisma": BEFORE["a.prisma"].replace("@id\n", "@id\n  name String?\n")})
    assert there == '-- AlterTable\nALTER TABLE "A" ADD COLUMN     "name" TEXT;\n'
    from_nothing = await diff({}, AFTER)
    assert 'CREATE TYPE "Kind" AS ENUM' in from_nothing
    assert 'FOREIGN KEY ("aId") REFERENCES "as"("id")' in from_nothing
    assert 'DROP TABLE "as";' in await diff(AFTER, {})


async def test_an_invalid_schema_is_refused_with_its_place() -> None:
    with pytest.raises(EngineError, match=r"b\.prisma:2"):
        await diff(BEFORE, {"b.prisma": "model B {\n  id Strin @id\n}\n"})
    assert await diff(BEFORE, BEFORE) == ""


async def test_many_at_once_do_not_mix() -> None:
    wanted = [{"a.prisma": f"model A{number} {{\n  id Int @id\n}}\n"} for number in range(10)]
    answers = await asyncio.gather(*(diff({}, each) for each in wanted))
    assert [f'"A{number}"' in answer for number, answer in enumerate(answers)] == [True] * 10


def test_each_event_loop_may_ask() -> None:
    assert [asyncio.run(diff(BEFORE, BEFORE)) for _ in range(2)] == ["", ""]


async def test_an_engine_that_is_closed_leaves_nothing_behind() -> None:
    """wasmtime holds what a module may call, and so the module's memory, until it is told to let go."""
    before = len(FUNCTIONS.handles)
    for _ in range(2):
        engine = SchemaEngine(Offline())
        await engine.ask("ensureConnectionValidity", {"datasource": {"tag": "ConnectionString", "url": ""}})
        assert len(FUNCTIONS.handles) > before
        await engine.close()
        await engine.close()
    assert len(FUNCTIONS.handles) == before
