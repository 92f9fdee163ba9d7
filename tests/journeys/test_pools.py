"""Two partners with workers of their own: each pool upgrades its own Project, with its own secrets alone."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from aiokafka import AIOKafkaProducer

from local import example
from local.ports import free_port
from local.postgres import postgres_bin_folder
from local.process import Child
from services.executor.clients.postgres import create_database
from shared.clients.database_urls import with_database
from shared.clock import utc_now
from shared.contracts.envelope import seal, to_body, to_headers
from shared.contracts.runs import RunView
from shared.contracts.stages import Failed, StageFinished
from shared.contracts.topics import POOLED, SERVICES, STAGE_RESULTS, dead_letters
from shared.messaging.topic_reader import read_topic
from tests.journeys.conftest import Portals
from tests.support.portal import Portal, connected, publish_examples
from tests.support.system import ROOT, Embedded, _outer_environment

PARTNERS = ("acme", "globex")


def _declaration(pool: str) -> dict[str, str]:
    text = (example.EXAMPLES / "project" / "upgradepath.toml").read_text()
    return {"upgradepath.toml": f'pool = "{pool}"\n{text}'}


def _database(system: Embedded, service: str, pool: str) -> str:
    return with_database(system.postgres_url, f"upgrades_{service}_{pool}")


@asynccontextmanager
async def _workers(system: Embedded, pool: str) -> AsyncIterator[None]:
    """The pool's executor and validator: processes with its secrets, its key and its databases alone."""
    home = system.world.folder / f"pool-{pool}"
    project = f"{pool}-portal"
    shutil.copytree(system.world.folder / "secrets" / project, home / "secrets" / project)
    nothing = dict.fromkeys(SERVICES, "")
    common = system.world.environment(system.kafka.bootstrap_servers, nothing, embedded=True)
    async with AsyncExitStack() as stack:
        for service in POOLED:
            await create_database(system.postgres_url, f"upgrades_{service}_{pool}")
            own = {
                "UPGRADES_POOL": pool,
                "UPGRADES_POOL_PROJECTS": project,
                "UPGRADES_SERVICE_KEY": str(system.world.folder / "keys" / f"{service}.{pool}.pem"),
                "UPGRADES_SECRETS_FOLDER": str(home / "secrets"),
                "UPGRADES_WORK_FOLDER": str(home / "work"),
                "UPGRADES_INSTANCE": pool,
                "UPGRADES_POSTGRES_BIN": str(postgres_bin_folder()),
                f"UPGRADES_{service.upper()}_DATABASE_URL": _database(system, service, pool),
            }
            kept = {name: value for name, value in common.items() if not name.endswith("_DATABASE_URL")}
            child = Child(
                [sys.executable, "-m", "cli", "service", service, "--port", str(free_port())],
                log=home / f"{service}.log",
                cwd=ROOT,
                env=_outer_environment() | kept | own,
            )
            stack.push_async_callback(asyncio.to_thread, child.stop, signal.SIGTERM, patience_s=20)
        yield


async def _worked_for(database_url: str) -> set[str]:
    async with connected(database_url) as connection:
        return {row["project_id"] for row in await connection.fetch("select distinct project_id from jobs")}


async def _forge(system: Embedded, portal: Portal, run_id: str, fence: int) -> None:
    """The other pool's executor says, with its own key, that the review of this Run has failed."""
    said = StageFinished(
        run_id=run_id,
        project_id=portal.project,
        stage="review",
        attempt=1,
        fence=fence,
        outcome=Failed(reason="so it is said"),
        worker="executor@globex",
        started_at=utc_now(),
        finished_at=utc_now(),
    )
    plain = to_headers(seal(said, source="/upgrades/executor.globex", now=utc_now()))
    headers = system.world.signer("executor.globex").signed(STAGE_RESULTS.name, to_body(said), plain)
    async with AIOKafkaProducer(bootstrap_servers=system.kafka.bootstrap_servers) as producer:
        await producer.send_and_wait(
            STAGE_RESULTS.name, to_body(said), key=said.key().encode(), headers=list(headers)
        )


async def _refused(system: Embedded, key: str) -> bool:
    """Whether the planner has put a message of this Project aside; returns once it has."""
    async for record in read_topic(system.kafka, dead_letters("planner"), follow=True):
        if record.key == key.encode():
            return True
    return False


async def test_each_pool_upgrades_its_own_project_and_no_other(portals: Portals) -> None:
    with TemporaryDirectory(prefix="upgradepath-pools-") as folder:
        system = Embedded(Path(folder), pools=PARTNERS)
        await system.start()
        try:
            await publish_examples(system)
            acme, globex = [
                await portals.open(system, partner, edits=_declaration(partner)) for partner in PARTNERS
            ]
            await _upgraded(system, acme, globex)
            await portals.close()
            portals._opened.clear()
        finally:
            await system.stop()


async def _upgraded(system: Embedded, acme: Portal, globex: Portal) -> None:
    run = await _asked(acme)
    await _forge(system, acme, run.id, run.fence)
    async with asyncio.timeout(60):
        assert await _refused(system, acme.project)
    assert (await acme.mira.show(run.id)).status == "planning"
    await acme.mira.tell(run.id, "cancel", reason="only to see who may answer")
    async with _workers(system, "acme"), _workers(system, "globex"):
        await _gains_nothing(globex)
        for portal in (acme, globex):
            planned = await portal.mira.plan(*dict([example.NEW_RELEASE]))
            await portal.mira.start(planned)
            done = await portal.mira.approve(await portal.mira.proven(planned.id))
            assert done.status == "succeeded", done.blocked_by
    assert await _worked_for(_database(system, "executor", "globex")) == {globex.project}
    assert await _worked_for(_database(system, "validator", "acme")) == {acme.project}
    assert await _worked_for(_database(system, "validator", "globex")) == {globex.project}
    for service in POOLED:
        assert await _worked_for(with_database(system.postgres_url, f"upgrades_{service}")) == set()


async def _asked(portal: Portal) -> RunView:
    wanted = {"project": portal.project, "systems": dict([example.NEW_RELEASE])}
    return RunView.model_validate(await portal.mira.post("/planner/runs", wanted))


async def _gains_nothing(globex: Portal) -> None:
    """Globex names acme's pool, where acme's secrets are: its stage ends before it has begun."""
    await _moved(globex, "globex", "acme")
    run = await globex.mira.settled((await _asked(globex)).id)
    assert run.blocked_by is not None
    assert "pool acme does not serve globex-portal" in run.blocked_by.what
    await globex.mira.tell(run.id, "cancel", reason="nothing is to be had there")
    await _moved(globex, "acme", "globex")


async def _moved(portal: Portal, old: str, new: str) -> None:
    """Into another pool, and until the planner has heard of it."""
    declared = portal.example.checkout / "upgradepath.toml"
    text = portal.home / "moved.toml"
    text.write_text(declared.read_text().replace(f'pool = "{old}"', f'pool = "{new}"'))
    portal.example.push({"upgradepath.toml": text}, f"To the pool {new}", "main")
    await portal.register()
    # What the planner has read in the meantime is what it plans with: a Project has one partition.
    await portal.until_known(dict([example.NEW_RELEASE]))
