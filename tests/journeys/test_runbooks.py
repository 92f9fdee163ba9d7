"""Each alarm's runbook is tried: its steps are typed as they are written, in a system that has the trouble.

Where an alarm waits for minutes or hours, these are taken out of the planner's database: what the clock would
have said is written there, and everything else happens by itself.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import asyncpg
import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from shared.clients.database_urls import database_of
from shared.contracts.runs import RunView
from shared.contracts.topics import RELEASE_COMMANDS
from tests.brokers.place import eventually
from tests.conftest import PostgresServer
from tests.journeys.conftest import Portals
from tests.support.alarms import rings
from tests.support.portal import NEW_PINS, Portal
from tests.support.system import Embedded, FiveProcesses
from tests.support.topics import send_raw

RUNBOOKS = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
NO_ANSWER = 3
NOTHING_BEHIND = "partitions is read to its end"

Followed = list[tuple[int, str]]


def steps(alarm: str) -> list[str]:
    """The commands that the runbook has its reader type, in their order."""
    return re.findall(r"^ {7}(\S.*)$", (RUNBOOKS / f"{alarm}.md").read_text(), re.MULTILINE)


async def follow(
    system: Embedded | FiveProcesses, alarm: str, names: Mapping[str, str] = MappingProxyType({})
) -> Followed:
    """Type every step of the runbook; what each one ends with and says."""
    followed: Followed = []
    for step in steps(alarm):
        for name, value in names.items():
            step = re.sub(rf"\b{name}\b", value, step)
        program, *words = shlex.split(step)
        if program == "upgradepath":
            followed.append(await system.command(*words))
        else:
            assert program == "curl", step
            async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
                answer = await client.get(words[-1])
            followed.append((0, answer.text))
    return followed


def parts_of(url: str) -> dict[str, str]:
    """What a reader puts for HOST:PORT."""
    host, port = url.removeprefix("http://").split(":")
    return {"HOST": host, "PORT": port}


@asynccontextmanager
async def broker_hangs(system: Embedded) -> AsyncIterator[None]:
    """The broker of this world takes no message and answers nobody while the block lasts."""
    (broker,) = [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"].startswith("tansu")
        and system.kafka.bootstrap_servers in " ".join(process.info["cmdline"])
    ]
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        # `dev` starts another in the place of one that answers nobody for long.
        with suppress(ProcessLookupError):
            os.kill(broker.pid, signal.SIGCONT)


async def scraped(url: str) -> str:
    """What the services at this address export."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        return (await client.get("/metrics")).raise_for_status().text


def ringing(url: str, alarm: str) -> Callable[[], Awaitable[bool]]:
    """Whether that alarm would ring by what is exported there."""

    async def ask() -> bool:
        return rings(alarm, await scraped(url))

    return ask


async def metric(system: Embedded, name: str, **labels: str) -> float:
    """The sum of one metric's series with these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(await scraped(system.url))
        for sample in family.samples
        if sample.name == f"upgradepath_{name}" and labels.items() <= sample.labels.items()
    )


def health_of(system: Embedded) -> Callable[[], Awaitable[int]]:
    async def ask() -> int:
        async with httpx.AsyncClient(base_url=system.url, trust_env=False, timeout=20) as client:
            return (await client.get("/health")).status_code

    return ask


async def test_dead_letters(embedded: Embedded) -> None:
    before = await metric(embedded, "dead_letters_total", service="registry")
    await send_raw(embedded, RELEASE_COMMANDS, "ledger-system", b"no message of ours", ())
    await eventually(
        lambda: metric(embedded, "dead_letters_total", service="registry"), lambda now: now > before
    )
    seen, foretold, sent = await follow(embedded, "dead-letters")
    assert "missing headers" in seen[1]
    assert (seen[0], foretold[0], sent[0]) == (0, 0, 0)
    # It is still no message of ours: it comes back, as the next one.
    await eventually(
        lambda: metric(embedded, "dead_letters_total", service="registry"), lambda now: now > before + 1
    )


async def test_run_waits_for_sre(embedded: Embedded, portals: Portals) -> None:
    portal = await portals.open(embedded, "lighthouse")
    content = embedded.world.folder / "content"
    away = content.rename(content.with_name("content-away"))
    asked = await portal.mira.post(
        "/planner/runs", {"project": portal.project, "systems": {"auth-system": None}}
    )
    parked = await portal.mira.seen(
        asked["id"], lambda run: run.blocked_by is not None and run.blocked_by.who == "sre"
    )
    assert await ringing(embedded.url, "run-waits-for-sre")()
    # A worker that asked in vain may have made the folder again.
    shutil.rmtree(content, ignore_errors=True)
    away.rename(content)

    listed, resumed = await follow(embedded, "run-waits-for-sre", {"RUN": parked.id})
    assert parked.id in listed[1]
    assert resumed[0] == 0, resumed[1]
    planned = await portal.mira.settled(parked.id)
    assert planned.status == "planned"
    assert planned.resumptions[0].reason == "the content store is back"
    assert not await ringing(embedded.url, "run-waits-for-sre")()


async def test_not_ready_and_outbox_old(embedded: Embedded, portals: Portals) -> None:
    portal = await portals.make(embedded, "tollgate")
    async with broker_hangs(embedded):
        await eventually(health_of(embedded), lambda status: status == httpx.codes.SERVICE_UNAVAILABLE)
        assert await ringing(embedded.url, "not-ready")()
        (health,) = await follow(embedded, "not-ready", parts_of(embedded.url))
        assert "broker: no answer" in health[1]
        await portal.register()
        assert await metric(embedded, "outbox_age_seconds", service="registry") > 0
        (lag,) = await follow(embedded, "outbox-old")
        assert lag[0] == NO_ANSWER, lag[1]

    async def waiting() -> float | None:
        """None while the services begin anew, which they do with another broker."""
        with suppress(httpx.TransportError):
            return await metric(embedded, "outbox_messages", service="registry")
        return None

    await eventually(waiting, lambda messages: messages == 0)
    await eventually(health_of(embedded), lambda status: status == httpx.codes.OK)
    assert not await ringing(embedded.url, "not-ready")()


async def time_passes(five: FiveProcesses, run_id: str, age_s: float, *, timer_in_s: float) -> None:
    """The Run's stage has begun so long ago, and its timer comes then; the planner reads it so."""
    begun, wake_at = (
        (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat() for seconds in (-age_s, timer_in_s)
    )
    planner = await asyncpg.connect(five.databases["planner"])
    try:
        told = json.loads(await planner.fetchval("select told from runs where id = $1", run_id))
        told["run"]["stages"][-1]["started_at"] = begun
        told["work"]["wake_at"] = wake_at
        async with planner.transaction():
            # Whoever remembers the Run as it was finds that it is another.
            project = told["run"]["project"]
            await planner.execute("update projects set version = version + 1 where id = $1", project)
            await planner.execute(
                "update runs set told = $2, look_at = $3 where id = $1",
                *(run_id, json.dumps(told, separators=(",", ":")), datetime.fromisoformat(wake_at)),
            )
    finally:
        await planner.close()


async def asked_of_nobody(five: FiveProcesses, portal: Portal) -> str:
    """A Run whose first stage is on its way to an executor that stands still."""
    asked = await portal.mira.post(
        "/planner/runs", {"project": portal.project, "systems": {"auth-system": None}}
    )
    run_id: str = asked["id"]
    return run_id


async def test_consumer_lag(five: FiveProcesses, portals: Portals) -> None:
    portal = await portals.open(five, "weir")

    async def lag() -> str:
        ((code, said),) = await follow(five, "consumer-lag")
        assert code == 0, said
        return said

    async with five.frozen("executor"):
        run_id = await asked_of_nobody(five, portal)
        await eventually(lag, lambda said: "upgrades.executor.commands.v1" in said)
    assert (await portal.mira.settled(run_id)).status == "planned"
    await eventually(lag, lambda said: NOTHING_BEHIND in said)


async def test_stage_old(five: FiveProcesses, portals: Portals) -> None:
    """A worker stands still in a stage, and the timer that would end it is lost: it comes in two hours."""
    portal = await portals.open(five, "sluice")
    planner = five.address("planner")
    async with five.frozen("executor"):
        run_id = await asked_of_nobody(five, portal)
        assert not await ringing(planner, "stage-old")()
        await time_passes(five, run_id, 5000, timer_in_s=7200)
        await eventually(ringing(planner, "stage-old"), bool)
        names = {"RUN": run_id, **parts_of(planner)}
        health, planners_lag, resumed = await follow(five, "stage-old", names)
        assert health[1] == '{"planner":"ok"}'
        assert planners_lag[0] == 0, planners_lag[1]
        assert resumed[0] == 0, resumed[1]
        assert not await ringing(planner, "stage-old")()
    planned = await portal.mira.settled(run_id)
    assert planned.status == "planned"
    assert planned.attempt == 2, "the first command was superseded by the one behind the new fence"


async def test_jobs_not_begun(five: FiveProcesses, portals: Portals) -> None:
    portal = await portals.open(five, "spillway")
    planner = five.address("planner")
    async with five.frozen("executor"):
        run_id = await asked_of_nobody(five, portal)
        assert not await ringing(planner, "jobs-not-begun")()
        await time_passes(five, run_id, 303, timer_in_s=-1)
        # The planner's own timer sees that nobody has begun, and says so.
        await eventually(ringing(planner, "jobs-not-begun"), bool)
        waits = RunView.model_validate((await portal.mira.get(f"/planner/runs/{run_id}"))["run"])
        assert waits.blocked_by is not None
        assert "no executor has begun review" in waits.blocked_by.what
        behind = await five.command(*shlex.split(steps("jobs-not-begun")[0])[1:])
        assert "upgrades.executor.commands.v1" in behind[1]
    assert (await portal.mira.settled(run_id)).status == "planned"
    read, (_, health) = await follow(five, "jobs-not-begun", parts_of(five.address("executor")))
    assert NOTHING_BEHIND in read[1]
    assert health == '{"executor":"ok"}'
    assert not await ringing(planner, "jobs-not-begun")()


async def test_database_lost(five: FiveProcesses, portals: Portals, postgres: PostgresServer) -> None:
    """The planner's database is gone in the middle of a Run: nothing is left of it to compare with."""
    portal = await portals.open(five, "reservoir")
    planned = await portal.mira.plan("auth-system")
    await portal.mira.tell(planned.id, "start", plan=planned.plan)
    candidate = (await portal.mira.proven(planned.id)).candidate
    lost = database_of(five.databases["planner"])
    server = await asyncpg.connect(postgres.url())
    try:
        await server.execute(f'drop database "{lost}" with (force)')
    finally:
        await server.close()
    await eventually(ringing(five.address("planner"), "not-ready"), bool)
    ((_, health),) = await follow(five, "not-ready", parts_of(five.address("planner")))
    assert f'database \\"{lost}\\" does not exist' in health

    await five.stop_service("planner")
    ((code, rebuilt),) = await follow(five, "database-lost")
    assert code == 0, rebuilt
    named = re.search(rf"rebuilt planner into \S*/({lost}_rebuilt_\d+)", rebuilt)
    assert named is not None, rebuilt
    await five.start_on("planner", postgres.url(named[1]))
    assert not await ringing(five.address("planner"), "not-ready")()
    listed = await five.command("run", "list")
    assert planned.id in listed[1]
    await portal.mira.tell(planned.id, "approve", candidate=candidate)
    assert (await portal.mira.settled(planned.id)).status == "succeeded"
    assert await portal.mira.pins() == NEW_PINS
