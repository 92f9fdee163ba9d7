"""Each alarm's runbook is tried: its steps are typed as they are written, in a system that has the trouble.

Two are followed without it: no job waits for a slot here, and no stage is kept for longer than it may take.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.contracts.topics import RELEASE_COMMANDS
from tests.brokers.place import eventually
from tests.journeys.conftest import Portals
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
        os.kill(broker.pid, signal.SIGCONT)


async def metric(system: Embedded, name: str, **labels: str) -> float:
    """The sum of one metric's series with these labels."""
    async with httpx.AsyncClient(base_url=system.url, trust_env=False, timeout=20) as client:
        told = (await client.get("/metrics")).raise_for_status().text
    return sum(
        sample.value
        for family in text_string_to_metric_families(told)
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


@pytest.mark.timeout(300)
async def test_run_waits_for_sre(embedded: Embedded, portals: Portals) -> None:
    portal = await portals.open(embedded, "lighthouse")
    repository = portal.example.repository
    away = repository.rename(repository.with_name("away.git"))
    asked = await portal.mira.post(
        "/planner/runs", {"project": portal.project, "systems": {"auth-system": None}}
    )
    parked = await portal.mira.seen(
        asked["id"], lambda run: run.blocked_by is not None and run.blocked_by.who == "sre"
    )
    assert await metric(embedded, "runs", waits_for="sre") == 1
    away.rename(repository)

    listed, resumed = await follow(embedded, "run-waits-for-sre", {"RUN": parked.id})
    assert parked.id in listed[1]
    assert resumed[0] == 0, resumed[1]
    planned = await portal.mira.settled(parked.id)
    assert planned.status == "planned"
    assert planned.resumptions[0].reason == "the repository is back"
    assert await metric(embedded, "runs", waits_for="sre") == 0


async def test_not_ready_and_outbox_old(embedded: Embedded, portals: Portals) -> None:
    portal = await portals.make(embedded, "tollgate")
    async with broker_hangs(embedded):
        await eventually(health_of(embedded), lambda status: status == httpx.codes.SERVICE_UNAVAILABLE)
        (health,) = await follow(embedded, "not-ready", parts_of(embedded.url))
        assert "broker: no answer" in health[1]
        await portal.register()
        assert await metric(embedded, "outbox_age_seconds", service="registry") > 0
        (lag,) = await follow(embedded, "outbox-old")
        assert lag[0] == NO_ANSWER, lag[1]
    await eventually(
        lambda: metric(embedded, "outbox_messages", service="registry"), lambda waiting: waiting == 0
    )
    await eventually(health_of(embedded), lambda status: status == httpx.codes.OK)


async def test_consumer_lag_stage_old_and_jobs_not_begun(five: FiveProcesses, portals: Portals) -> None:
    portal = await portals.open(five, "weir")

    async def lag() -> str:
        ((code, said),) = await follow(five, "consumer-lag")
        assert code == 0, said
        return said

    async with five.frozen("executor"):
        asked = await portal.mira.post(
            "/planner/runs", {"project": portal.project, "systems": {"auth-system": None}}
        )
        await eventually(lag, lambda said: "upgrades.executor.commands.v1" in said)
        names = {"RUN": asked["id"], **parts_of(five.address("planner"))}
        health, planners_lag, resumed = await follow(five, "stage-old", names)
        assert health[1] == '{"planner":"ok"}'
        assert planners_lag[0] == 0, planners_lag[1]
        assert resumed[0] == 0, resumed[1]
    planned = await portal.mira.settled(asked["id"])
    assert planned.status == "planned"
    assert planned.attempt == 2, "the first command was superseded by the one behind the new fence"
    await eventually(lag, lambda said: NOTHING_BEHIND in said)
    read, (_, health_of_executor) = await follow(five, "jobs-not-begun", parts_of(five.address("executor")))
    assert NOTHING_BEHIND in read[1]
    assert health_of_executor == '{"executor":"ok"}'
