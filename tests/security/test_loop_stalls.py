"""Whatever people's files hold, the event loop that reads them runs on: its longest stall is measured.

The stall is counted in CPU time of the loop's own thread, so that a busy machine does not matter.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest

from services.executor.clients.prisma import read_models
from services.executor.clients.reading import read_in_child
from services.executor.clients.scripts import outline_of, statements_of
from services.executor.stages.config_merge import UnreadableConfig, merge_config
from services.executor.stages.impact import read_rules
from services.registry.domain.gate import Library
from services.registry.reading import judge_package, read_outline
from shared.declarations import parse_toml
from shared.errors import Failure, Reject
from shared.prisma.parser import InvalidSchema, PrismaSchema
from shared.prisma.three_way import merge_fragment
from shared.prisma.unified import unify
from shared.project_file import read_project_file, read_version_map
from shared.reading.readers import ReaderEnded, readers
from shared.sql.parsing import Unreadable
from tests.packages.package_files import a_package, packed
from tests.security.raw_tar import member
from tests.security.raw_tar import packed as packed_raw

STALL_S_MAX = 0.1
WORST_TOML = "[" + "a." * 9 + "b]\n" + "".join("a." * 9 + f"b{number} = 1\n" for number in range(400))
LARGEST_TOML = "x = [" + "[]," * 40_000 + "]"


@asynccontextmanager
async def no_stall() -> AsyncIterator[None]:
    """Fails when the loop's thread works longer than it may without coming round."""
    stalls: list[float] = []
    beats: asyncio.Queue[float] = asyncio.Queue()

    async def beat() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.005)
            beats.put_nowait(time.thread_time() - before)

    beating = asyncio.create_task(beat())
    stalls.append(await beats.get())
    try:
        yield
    finally:
        # The one that is under way, and a whole one after it.
        stalls += [await beats.get() for _ in range(beats.qsize() + 2)]
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
    assert max(stalls) < STALL_S_MAX


def _sql(text: str) -> bytes:
    return packed(a_package(more={"prisma/migrations/20260101000000_init/migration.sql": text}))


def _models(count: int) -> str:
    return "".join(f"model M{number} {{\n id Int @id\n}}\n" for number in range(count))


PACKAGES: dict[str, Callable[[], bytes]] = {
    "large": lambda: packed_raw(
        *(member(b"files/%d" % number, os.urandom(1 << 20) + bytes(30 << 20)) for number in range(4))
    ),
    "most files": lambda: packed_raw(*(member(b"files/%d/%d" % (n % 100, n)) for n in range(9_900))),
    "dotted manifest": lambda: packed(a_package(manifest=f"[config]\n{WORST_TOML}")),
    "largest manifest": lambda: packed(a_package(manifest=f"[config]\n{LARGEST_TOML}")),
    "longest changelog": lambda: packed(a_package(more={"CHANGELOG.md": "## 1.3.0\n" * 50_000})),
    "many statements": lambda: _sql("UPDATE t SET x = 1;\n" * 2_000),
    "many columns": lambda: _sql(f"CREATE TABLE t ({', '.join(f'c{n} int' for n in range(3_000))});"),
    "large schema": lambda: packed(a_package(more={"prisma/schema.prisma": _models(2_000)})),
}


@pytest.mark.parametrize("name", PACKAGES)
async def test_a_package_stalls_nobody(name: str) -> None:
    """One of 98 KB held the loop of the registry for seconds; /health did not answer."""
    data = await asyncio.to_thread(PACKAGES[name])
    async with no_stall():
        with suppress(Reject, ReaderEnded):
            await readers().read("a", read_outline, data)
            await readers().read("a", judge_package, data, Library())


TEXTS: dict[str, Callable[[], Awaitable[object]]] = {
    "project file": lambda: read_in_child("x", read_project_file, WORST_TOML),
    "largest project file": lambda: read_in_child("x", read_project_file, LARGEST_TOML),
    "version map": lambda: read_in_child("x", read_version_map, "x\n" * 100_000),
    "rules": lambda: read_in_child("x", read_rules, {f"{n}.toml": LARGEST_TOML for n in range(2)}),
    "a source": lambda: read_in_child("x", partial(parse_toml, WORST_TOML, file="x")),
    "a configuration": lambda: read_in_child("x", merge_config, "a", WORST_TOML, {"x": 1}, {"x": 2}),
    "a large configuration": lambda: read_in_child("x", merge_config, "a", LARGEST_TOML, {"x": 1}, {"x": 2}),
    "fragments": lambda: read_in_child(
        "x", merge_fragment, _models(500), _models(500), _models(500), ("a", "b")
    ),
}


@pytest.mark.parametrize("name", TEXTS)
async def test_a_projects_file_stalls_nobody(name: str) -> None:
    """5 KB of dotted keys in a configuration held the loop of every stage for three seconds."""
    async with no_stall():
        with suppress(Reject, Failure, UnreadableConfig):
            await TEXTS[name]()


SCRIPTS: dict[str, str] = {
    "statements": "SELECT 1;\n" * 6_500,
    "commands": f"ALTER TABLE t {','.join(['ADD c int'] * 6_000)}",
    "a list": f"DELETE FROM t WHERE a IN ({','.join(['1'] * 32_000)})",
    "blocks": "DO $$BEGIN END$$;" * 3_800,
    "a chain": "SELECT " + "1+" * 32_000 + "1",
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_script_stalls_nobody(name: str) -> None:
    """64 KB of small statements were parsed on the executor's own loop, in three quarters of a second."""
    async with no_stall():
        with suppress(Unreadable, Failure):
            await statements_of("migration.sql", SCRIPTS[name])
        await outline_of("migration.sql", SCRIPTS[name])


SCHEMAS: dict[str, str] = {
    "open models": "model A {\n" * 6_500 + "}\n",
    "quotes": '"\\' * 32_000,
    "comments": "/// a\n" * 10_000,
    "blank lines": "/// a\n" + "\n" * 64_000,
    "brackets": "model A {\n id Int @default(" + "[" * 9_000 + ")\n}\n",
    "unknown types": "model A {\n" + "".join(f" f{n} X{n}\n" for n in range(3_000)) + "}\n",
}


@pytest.mark.parametrize("name", SCHEMAS)
async def test_a_schema_is_a_verdict_and_stalls_nobody(name: str) -> None:
    """Prisma's parser took a minute for 64 KB of models that nobody closes, ours half of one for quotes."""
    async with no_stall():
        with suppress(InvalidSchema):
            await unify(PrismaSchema(), {"a.prisma": SCHEMAS[name]})
        with suppress(ValueError, Failure):
            await read_in_child("prisma/schema", read_models, {"a.prisma": SCHEMAS[name]})


def test_a_stall_is_seen() -> None:
    """The measure must not pass because it measures nothing."""

    async def stalled() -> None:
        async with no_stall():
            end = time.thread_time() + 3 * STALL_S_MAX
            while time.thread_time() < end:
                pass

    with pytest.raises(AssertionError):
        asyncio.run(stalled())
