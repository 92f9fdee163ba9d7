"""Prisma's own parser, as it answers in this process."""

from pathlib import Path

import pytest

from shared.prisma.parser import InvalidSchema, PrismaSchema, Problem
from shared.prisma.wasm import Panicked, on_thread

EXAMPLE = Path(__file__).parents[2] / "examples/systems/auth-system/1.3.0/prisma/schema.prisma"
DATASOURCE = 'datasource db {\n  provider = "postgresql"\n  url      = env("DATABASE_URL")\n}\n'


@pytest.fixture(scope="module")
def prisma() -> PrismaSchema:
    return PrismaSchema()


async def test_a_schema_of_an_older_prisma_is_valid(prisma: PrismaSchema) -> None:
    """Its datasource names an address, which the pinned parser refuses by itself."""
    await prisma.validate({"main.prisma": DATASOURCE, "auth.prisma": EXAMPLE.read_text()})


async def test_every_error_has_its_file_and_line(prisma: PrismaSchema) -> None:
    odd = "// ünïcödé 🎉\nmodel Älter {\n  id Int @id\n}\n"
    wrong = odd + "model A {\n  id   Int @id\n  name Strin\n  b    Foo\n}\n"
    with pytest.raises(InvalidSchema) as refused:
        await prisma.validate({"b.prisma": wrong, "a.prisma": DATASOURCE + "model A {\n  id Int @id\n}\n"})
    places = [(each.file, each.line) for each in refused.value.problems]
    assert {("b.prisma", 7), ("b.prisma", 8), ("a.prisma", 5)} <= set(places)
    assert places == sorted(places, key=lambda place: (place[0] == "a.prisma", place[1]))
    assert 'b.prisma:7: Type "Strin" is neither' in str(refused.value)


async def test_a_warning_is_no_error(prisma: PrismaSchema) -> None:
    files = {
        "a.prisma": DATASOURCE
        + 'generator client {\n  provider = "x"\n  previewFeatures = ["nativeTypes"]\n}\n'
    }
    await prisma.validate(files)
    assert [(each.line, each.severity) for each in await prisma.lint(files)] == [(7, "warning")]


async def test_format_is_canonical_and_keeps_the_address(prisma: PrismaSchema) -> None:
    formatted = await prisma.format({"a.prisma": DATASOURCE + "model A {\n id Int    @id\n}\n"})
    assert formatted["a.prisma"] == DATASOURCE + "\nmodel A {\n  id Int @id\n}\n"
    assert await prisma.format(formatted) == formatted


async def test_config_data_model_and_merge(prisma: PrismaSchema) -> None:
    files = {"main.prisma": DATASOURCE, "auth.prisma": EXAMPLE.read_text()}
    assert (await prisma.get_config(files))["datasources"][0]["provider"] == "postgresql"
    models = {each["name"]: each for each in (await prisma.get_dmmf(files))["datamodel"]["models"]}
    assert models["User"]["dbName"] == "users"
    masked = {each["name"]: each.get("documentation") for each in models["User"]["fields"]}
    assert masked["email"] == "@mask email"
    merged = await prisma.merge_schemas(files)
    assert await prisma.merge_schemas({"one.prisma": merged}) == merged
    for ask in (prisma.get_dmmf, prisma.merge_schemas):
        with pytest.raises(InvalidSchema) as refused:
            await ask({**files, "again.prisma": "model User {\n  id Int @id\n}\n"})
        assert refused.value.problems[0] == Problem(
            "again.prisma",
            1,
            'The model "User" cannot be defined because a model with that name already exists.',
        )


async def test_after_a_panic_a_new_instance_answers(prisma: PrismaSchema) -> None:
    with pytest.raises(Panicked, match="debug_panic"):
        await on_thread(prisma._call_text, "debug_panic")
    await prisma.validate({"main.prisma": DATASOURCE})


async def test_the_module_does_not_grow_with_the_calls(prisma: PrismaSchema) -> None:
    files = {"main.prisma": DATASOURCE, "auth.prisma": EXAMPLE.read_text()}
    for _ in range(20):
        await prisma.get_dmmf(files)
    assert prisma._instance is not None
    before = prisma._instance._memory.data_len(prisma._instance._store)
    for _ in range(100):
        await prisma.get_dmmf(files)
        await prisma.lint({"again.prisma": "model A {"})
    assert prisma._instance._memory.data_len(prisma._instance._store) == before
