"""A process whose event loop is blocked ends, says where, and is told from one that was only stopped."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from pathlib import Path

from local.ports import free_port
from services.watchdog import EXIT_STUCK, watched_loop
from tests.conftest import PostgresServer
from tests.processes.blocked_loop import allowed_time
from tests.support.keys import JWKS
from tests.support.proofs import key_variables

ROOT = Path(__file__).resolve().parents[2]
BLOCKED_AFTER_S = 0.3


async def start(way: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.processes.blocked_loop", way, str(BLOCKED_AFTER_S)),
        cwd=ROOT,
        env=os.environ | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_blocked_loop_ends_its_process_and_the_log_says_where() -> None:
    process = await start("asleep")
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == EXIT_STUCK, said.decode()
    assert "the event loop has not run for 0.3 s, the process ends to be started again" in said.decode()
    assert "blocked_loop.py" in said.decode()
    assert " in asleep" in said.decode()


async def test_a_service_is_watched_from_its_start(postgres: PostgresServer, tmp_path: Path) -> None:
    postgres.create_database("blocked_notifier")
    process = await start(
        "service",
        UPGRADES_KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}",
        UPGRADES_CONTENT_URL=tmp_path.as_uri(),
        UPGRADES_TOKEN_PUBLIC_KEYS=JWKS,
        **key_variables("notifier"),
        UPGRADES_NOTIFIER_DATABASE_URL=postgres.url("blocked_notifier"),
        UPGRADES_LOOP_BLOCKED_AFTER_S="1",
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == EXIT_STUCK, said.decode()
    assert " in asleep" in said.decode()


async def test_what_keeps_the_interpreter_to_itself_ends_too() -> None:
    process = await start("greedy")
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1, said.decode()
    assert " in greedy" in said.decode()


async def test_a_process_that_was_stopped_and_goes_on_is_not_blocked() -> None:
    process = await start("idle")
    assert process.stdin is not None
    assert process.stdout is not None
    assert await process.stdout.readline() == b"runs\n"
    process.send_signal(signal.SIGSTOP)
    end = time.monotonic() + 4 * BLOCKED_AFTER_S
    while time.monotonic() < end:
        assert _state(process.pid) in "RSDT"
        await asyncio.sleep(BLOCKED_AFTER_S)
    assert _state(process.pid) == "T"
    process.send_signal(signal.SIGCONT)
    process.stdin.write(b"\n")
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, said.decode()


async def test_watching_costs_next_to_nothing() -> None:
    """In earnest it looks every 6 s; here 300 times a second."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    with watched_loop(1 / 60):
        await allowed_time(0.5)
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    looks = 0.5 * 300
    assert spent_s / looks < 0.001


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
