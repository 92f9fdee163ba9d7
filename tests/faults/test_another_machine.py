"""An executor is gone for good in the middle of a stage: another machine goes on, and nothing is done twice.

Each has its own work folder and its own temporary one, and the dead one's are taken away: what they share is
the content store, Git and the databases.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import pytest

from local.kafka import availability
from tests.brokers.place import eventually
from tests.faults.ledger import audit
from tests.faults.load import Asked
from tests.faults.rig import UPGRADE, Rig
from tests.faults.session import at_rest

SERVICES = ("registry", "notifier", "planner", "validator")
# What is dead is given up soon: a lease and a session are waited for each time.
SOON = {"UPGRADES_LEASE_S": "2", "UPGRADES_KAFKA_SESSION_TIMEOUT_MS": "2000"}
ROWS = 300_000
PUSHED = "executor.apply.git-push.after"


async def test_a_run_goes_on_on_another_machine_each_time_its_executor_is_gone() -> None:
    if reason := availability():
        if os.environ.get("CI") == "true":
            pytest.fail(f"Apache Kafka: {reason}")
        pytest.skip(f"Apache Kafka: {reason}")
    with TemporaryDirectory(prefix="upgradepath-faults-") as folder:
        rig = Rig(Path(folder), kept=SERVICES, variables=SOON)
        async with rig.running():
            project = await rig.register_real("moving")
            try:
                await _go_from_machine_to_machine(rig, project)
            finally:
                await rig.take_down()


async def _go_from_machine_to_machine(rig: Rig, project: str) -> None:
    production = rig.real[project].production_url
    await _ask(
        production,
        f"insert into quotes (user_id, product, quantity, total_cents, created_at)"
        f" select 1, 'desk', n, 100, now() from generate_series(1, {ROWS}) n",
    )
    rig.begin("executor-1", again=False)
    asked = rig.load.ask(project, UPGRADE)
    await _gone_in_the_copy(rig, "executor-1")
    # In the middle of a stage: the commit is pushed, and the answer is not given.
    rig.points.arm(PUSHED)
    second = rig.begin("executor-2", again=False)
    await second.gone.wait()
    await _gone(rig, "executor-2")
    # In the middle of production's migration: its transaction is open, and waits for a reader.
    async with _locked(production, "users", "access share") as lock:
        rig.begin("executor-3", again=False)
        await lock.waited_for_by("alter table")
        await _gone(rig, "executor-3")
    rig.begin("executor-4", again=False)
    await rig.load.until(lambda: asked.ended_s is not None, 120)

    assert _stages(asked) == [
        "review",
        "prepare",
        "apply",
        "migrate",
        "validate",
        "check-workflows",
        "prove-backup",
        "deploy",
        "record",
    ]
    assert asked.well
    assert rig.load.helped == []
    await at_rest(rig)
    assert (await audit(rig)).findings == []


def _stages(asked: Asked) -> list[str]:
    """Those that were done, each once: what a dead executor had begun is the same attempt still."""
    assert asked.run is not None
    assert {record.attempt for record in asked.run.stages} == {1}
    return [record.stage for record in asked.run.stages]


async def _gone_in_the_copy(rig: Rig, name: str) -> None:
    """It is on its way, and not done: Git has the branch, and staging some of the rows."""
    copying = "select count(*) from pg_stat_activity where state = 'active' and query ilike 'copy%quotes%'"
    watching: Any = await asyncpg.connect(rig.postgres.url())
    try:
        await eventually(lambda: watching.fetchval(copying), bool, within_s=60)
    finally:
        await watching.close()
    await _gone(rig, name)
    effects = "select string_agg(name, ' ') from effects where done_at is null"
    assert await _ask(rig.databases["executor"], effects) == "copy-rows"


async def _ask(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def _gone(rig: Rig, name: str) -> None:
    """The process, and its disk with it."""
    rig.processes[name].send_signal(signal.SIGKILL)
    await rig.processes[name].gone.wait()
    shutil.rmtree(rig.work_folder(name))


class _Lock:
    def __init__(self, watching: Any, holder: int) -> None:
        self._watching = watching
        self._holder = holder

    async def waited_for_by(self, statement: str) -> None:
        """Returns when such a statement waits for the table."""
        waiting = "select query from pg_stat_activity where $1 = any(pg_blocking_pids(pid))"
        await eventually(
            lambda: self._watching.fetch(waiting, self._holder),
            lambda rows: any(statement in row["query"].lower() for row in rows),
            within_s=60,
        )


@asynccontextmanager
async def _locked(url: str, table: str, mode: str) -> AsyncIterator[_Lock]:
    holding: Any = await asyncpg.connect(url)
    # A transaction sees the sessions as they were when it looked first.
    watching: Any = await asyncpg.connect(url)
    try:
        async with holding.transaction():
            await holding.execute(f"lock table {table} in {mode} mode")
            yield _Lock(watching, holding.get_server_pid())
    finally:
        await holding.close()
        await watching.close()
