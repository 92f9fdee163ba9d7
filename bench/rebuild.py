"""Rebuilding the planner from a synthetic history on Apache Kafka, against copying the same bytes."""

import asyncio
import resource
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from bench.noop import yes
from bench.result import Result, against
from local import example
from local.kafka import ApacheKafka
from local.postgres import EmbeddedPostgres
from services.planner import choices, domain
from services.planner.open_commands import open_command
from services.planner.run import Decision
from services.restorers import restorer
from shared.contracts.envelope import Envelope, seal, to_body, to_headers
from shared.contracts.projects import Project
from shared.contracts.releases import Release
from shared.contracts.runs import ApproveCandidate, PlanReady, RequestPlan, StartRun
from shared.contracts.stages import RunExecutorStage, RunValidatorStage, StageFinished, Succeeded
from shared.contracts.topics import RUN_EVENTS
from shared.contracts.values import Actor
from shared.contracts.version_maps import HoldVersionMap, VersionMap
from shared.messaging.topic_admin import create_topics
from shared.messaging.topic_reader import read_batches
from shared.project_file import read_project_file
from shared.replay.rebuild import rebuild
from shared.settings import KafkaSettings

EVENTS = 200_000
_RUN, _PROJECT, _PLAN = "run-000000000000", "acme-portal", "0" * 63 + "f"
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_DIGEST = "0" * 64
_CHUNK_RUNS = 200

Wire = tuple[bytes, list[tuple[str, bytes]]]


async def measure(events: int = EVENTS) -> list[Result]:
    """Events a second, rebuilt and merely read and copied; CPU seconds of ours beside the brokers'."""
    with tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as name:
        folder = Path(name)
        with EmbeddedPostgres(folder / "postgres", fsync=False) as postgres:
            async with ApacheKafka(folder / "kafka") as kafka:
                settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
                await create_topics(settings)
                written = await _write(settings, events)
                postgres.create_database("floor")
                floor = written / await _floor(settings, postgres.url("floor"))
                postgres.create_database("rebuilt")
                cpu_s = _cpu_s()
                done = await rebuild(settings, restorer("planner", "memory:///"), postgres.url("rebuilt"))
                cpu_s = _cpu_s() - cpu_s
                assert done.events == written
    return [
        against("rebuild", done.events / done.seconds, "events/s", floor),
        Result("rebuild, CPU of ours", cpu_s / done.events * 100_000, "s/100,000"),
    ]


async def _write(settings: KafkaSettings, events: int) -> int:
    """Runs that all went the whole way, each in a Project of its own; how many events they are."""
    template = await _history()
    runs = events // len(template)
    async with _producer(settings) as producer:
        for start in range(0, runs, _CHUNK_RUNS):
            sent = [
                await producer.send(
                    RUN_EVENTS.name,
                    body.replace(b"run-000000000000", b"run-%012x" % number)
                    .replace(b'"acme-portal"', b'"portal-%06d"' % number)
                    .replace(_PLAN.encode(), b"%064x" % number),
                    key=b"portal-%06d" % number,
                    headers=[
                        (name, value.replace(b"000000000000", b"%012x" % number)) for name, value in headers
                    ],
                )
                for number in range(start, min(start + _CHUNK_RUNS, runs))
                for body, headers in template
            ]
            await asyncio.gather(*sent)
    return runs * len(template)


async def _history() -> list[Wire]:
    """Bodies and headers of one Run's events, as its planner sends them."""
    wires: list[Wire] = []
    before: Decision | None = None
    for revision, decision in enumerate([one async for one in _decisions()], 1):
        # People ask over HTTP, workers and the registry answer on topics.
        answered = before is not None and open_command(before.run) is not None
        source = "/upgrades/executor" if answered else "/http/bench"
        cause = Envelope(f"cause-{_RUN}-{revision}", source, "", "", _NOON, digest=_DIGEST)
        before = decision
        plans = [message for message in decision.sends if isinstance(message, PlanReady)]
        for message in (*plans, decision.run.changed(revision)):
            envelope = seal(message, source="/upgrades/planner", now=_NOON, cause=cause, correlation_id=_RUN)
            headers = {**dict(to_headers(envelope)), "ce_id": f"{revision}-{_RUN}-{len(wires)}".encode()}
            wires.append((to_body(message).replace(_plan_of(decision), _PLAN.encode()), [*headers.items()]))
    return wires


def _plan_of(decision: Decision) -> bytes:
    return (decision.run.plan or _PLAN).encode()


async def _decisions() -> AsyncIterator[Decision]:
    """What is decided about a Run from the request for its plan to its end."""
    definition = read_project_file((example.EXAMPLES / "project" / "upgradepath.toml").read_text())
    actor = Actor(id="bench", role="maintainer", projects=(_PROJECT,))
    project = Project(id=_PROJECT, repository="none", definition=definition, approvers=(actor.id,))
    releases = {("auth-system", version): _release(version) for version in ("1.2.4", "1.3.0")}
    pins = {"auth-system": "1.2.4"}
    version_map = VersionMap(project=_PROJECT, pins=pins, revision=1, recorded_at=_NOON)
    ask = RequestPlan(actor=actor, project=_PROJECT, systems={"auth-system": None})
    decision = choices.request_plan(ask, _RUN, project, version_map, releases, _NOON, 1)
    yield decision
    on: dict[str, Any] = {"actor": actor, "project": _PROJECT, "run_id": _RUN}
    while not decision.run.ended:
        run, fence = decision.run, decision.run.fence + 1
        command = open_command(run)
        if isinstance(command, RunExecutorStage | RunValidatorStage):
            decision = domain.advance(run, await _answer(command), _NOON, fence, releases)
        elif isinstance(command, HoldVersionMap):
            held = version_map.model_copy(update={"held_by": run.id})
            decision = domain.on_map_held(run, held, _NOON, fence, None)
        elif command is not None:
            decision = domain.on_map_let_go(run, version_map, _NOON, fence)
        elif run.candidate is not None:
            approve = ApproveCandidate(**on, candidate=run.candidate)
            decision = choices.approve(run, approve, releases, _NOON, fence, None)
        else:
            start = StartRun(**on, plan=run.plan or _DIGEST)
            decision = choices.start(run, start, pins, None, releases, _NOON, fence)
        yield decision


async def _answer(command: RunExecutorStage | RunValidatorStage) -> StageFinished:
    return StageFinished(
        run_id=command.run_id,
        project_id=command.project_id,
        stage=command.task.stage,
        attempt=command.attempt,
        fence=command.fence,
        outcome=Succeeded(facts=await yes(_nobody(), command.task)),
        worker="bench",
        started_at=_NOON,
        finished_at=_NOON,
    )


def _nobody() -> Any:
    """Stages that do nothing ask nothing of their job."""
    return None


def _release(version: str) -> Release:
    return Release(
        system="auth-system",
        version=version,
        package=_DIGEST,
        summary="nothing",
        published_at=_NOON,
        published_by="bench",
    )


async def _floor(settings: KafkaSettings, url: str) -> float:
    """Seconds to read the same records and to copy their bodies into a table."""
    connection = await asyncpg.connect(url)
    await connection.execute("create table told (key bytea, body text)")
    begun = time.monotonic()
    async for records in read_batches(settings, [RUN_EVENTS], most=5000):
        rows = [(record.key, (record.value or b"").decode()) for record in records]
        await connection.copy_records_to_table("told", records=rows)
    took_s = time.monotonic() - begun
    await connection.close()
    return took_s


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@asynccontextmanager
async def _producer(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, acks="all", max_batch_size=128 * 1024, linger_ms=5
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
