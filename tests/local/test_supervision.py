"""A world whose PostgreSQL, broker or hosting has ended goes on by itself; else it ends with a word."""

from __future__ import annotations

import asyncio
import json
import shutil
from functools import partial
from pathlib import Path

import httpx
import pytest

from local.example import FIRST_RELEASES, NEW_RELEASE, package_folder
from local.process import CannotStart
from local.supervision import Program, supervise
from tests.brokers.place import eventually
from tests.support.system import Embedded

NOTICED_WITHIN_S = 20.0


@pytest.mark.timeout(180)
async def test_what_ends_below_a_world_is_started_again_with_its_data(tmp_path: Path) -> None:
    world = Embedded(tmp_path / "world")
    await world.start()
    try:
        await _publish(world, *FIRST_RELEASES[0])
        for words, says in (
            (("postgres", "-D"), "PostgreSQL runs again; its data is as it was"),
            (("broker", "--storage-engine"), "the broker runs again"),
            (("server.py",), "the hosting runs again"),
        ):
            program = world.program(*words)
            program.kill()
            await eventually(partial(_said, world, says), bool, NOTICED_WITHIN_S)
            assert world.program(*words).pid != program.pid
            await eventually(partial(_healthy, world), bool, NOTICED_WITHIN_S)
        assert FIRST_RELEASES[0][0] in await _typed(world, "release", "list", "--json")
        # Everything is linked again: what is published now passes through all of it.
        await _publish(world, *NEW_RELEASE)
        # A program that cannot run any more ends the world, with a word and no traceback.
        postgres = world.program("postgres", "-D")
        data = world.world.folder / "postgres" / "data"
        shutil.move(data / "global", data / "gone")
        postgres.kill()
        assert await world.ended() == 3
        assert "no answer: PostgreSQL has ended, and does not start again" in world.logs()
        assert "Traceback" not in world.logs().rpartition("no answer:")[2]
    finally:
        await world.stop()


async def test_a_program_that_ends_over_and_over_ends_the_world() -> None:
    started: list[str] = []

    async def start() -> None:
        started.append("again")

    program = Program("the broker", lambda: False, start, "empty")
    with pytest.raises(CannotStart, match="the broker has ended 4 times within 60 s"):
        await asyncio.wait_for(supervise([program], look_s=0.01), 10)
    assert started == ["again"] * 3


@pytest.mark.parametrize("deaf", ["hangs", "says no"])
async def test_what_runs_and_does_not_answer_is_told_and_started_again(
    deaf: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Six questions in a row: one that is answered in between begins the count anew."""
    answers = iter([False, False, True, *[False] * 6])
    asked: list[bool] = []
    started = asyncio.Event()

    async def ask() -> None:
        asked.append(next(answers, True))
        if not asked[-1]:
            if deaf == "hangs":
                await asyncio.Event().wait()
            raise ConnectionError(deaf)

    async def start() -> None:
        started.set()

    program = Program("the broker", lambda: True, start, "empty", ask)
    supervisor = asyncio.create_task(
        supervise([program], look_s=0.01, ask_every_s=0.01, answer_within_s=0.05)
    )
    async with asyncio.timeout(10):
        await started.wait()
    assert len(asked) >= 9
    await eventually(partial(_silence, program), lambda silent: silent == 0, 5)
    supervisor.cancel()
    with pytest.raises(asyncio.CancelledError):
        await supervisor
    assert "the broker does not answer (6 questions in a row): starting it again" in caplog.text
    assert caplog.text.count("starting it again") == 1


async def _silence(program: Program) -> int:
    return program.silent


async def _publish(world: Embedded, system: str, version: str) -> None:
    await _typed(world, "release", "publish", str(package_folder(system, version)))


async def _typed(world: Embedded, *words: str) -> str:
    code, said = await world.command(*words)
    assert code == 0, said
    return said


async def _said(world: Embedded, words: str) -> bool:
    return words in world.logs()


async def _healthy(world: Embedded) -> bool:
    document = json.loads((world.world.folder / "world.json").read_text())
    async with httpx.AsyncClient(base_url=document["url"], trust_env=False) as client:
        try:
            return (await client.get("/health")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
