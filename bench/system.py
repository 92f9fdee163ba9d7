"""The five services as five processes on Apache Kafka and PostgreSQL, and somebody who keeps them busy."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from pydantic_core import from_json

from local import example
from local.commands import Commands
from local.dev import service_databases
from local.kafka import ApacheKafka
from local.ports import free_port
from local.postgres import EmbeddedPostgres
from local.process import Child
from local.world import World
from shared.clients.content import ContentStore
from shared.contracts.policies import Policy
from shared.contracts.projects import Project, RegisterProject
from shared.contracts.refusals import CommandRefused
from shared.contracts.releases import PublishRelease, ReleasePublished
from shared.contracts.runs import ApproveCandidate, RequestPlan, RunChanged, StartRun
from shared.contracts.topics import PROJECT_EVENTS, RELEASE_EVENTS, RUN_EVENTS, SERVICES, VERSION_MAP_EVENTS
from shared.contracts.values import Actor, Command
from shared.contracts.version_maps import VersionMapRecorded
from shared.messaging.topic_admin import create_topics
from shared.packages.archive import pack_folder
from shared.settings import KafkaSettings

LIBRARY = Actor(id="library@bench.example", role="library")
SRE = Actor(id="sre@bench.example", role="sre")
_STATUS_WITHIN = 200
"""Bytes of a `RunChanged`: the Run's own status stands before those of its stages."""


@dataclass
class Driver:
    """Plays the Library and the maintainers over the topics: answers whatever a Run waits for, at once."""

    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    people: Commands
    began: dict[str, float] = field(default_factory=dict)
    took_s: dict[str, float] = field(default_factory=dict)
    ended: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    """The newest revision of each Run: what a killed process had sent is sent again."""
    recorded: set[str] = field(default_factory=set)
    published: set[tuple[str, str]] = field(default_factory=set)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def send(self, command: Command) -> None:
        record = self.people.record(command)
        await self.producer.send(record.topic, record.body, record.key, headers=list(record.headers))

    async def follow(self) -> None:
        """Read every event and do what a person would do then."""
        while True:
            polled = await self.consumer.getmany(timeout_ms=1000)
            for record in (record for records in polled.values() for record in records):
                if not _goes_on_by_itself(record.value):
                    await self._hear(dict(record.headers)["ce_type"].decode(), from_json(record.value))
            async with self.changed:
                self.changed.notify_all()

    async def _hear(self, kind: str, event: dict[str, Any]) -> None:
        # Not by the contracts' models: what the driver spends is missing to those that it drives.
        if kind == ReleasePublished.type_name():
            self.published.add((event["release"]["system"], event["release"]["version"]))
        elif kind == VersionMapRecorded.type_name():
            self.recorded.add(event["version_map"]["project"])
        elif kind == CommandRefused.type_name() and event["command"] == RequestPlan.type_name():
            # We have read of this Project before the planner has: as a person would, ask again.
            await self._ask(event["subject"])
        elif kind == RunChanged.type_name() and event["revision"] > self.seen.get(event["run"]["id"], 0):
            self.seen[event["run"]["id"]] = event["revision"]
            await self._answer(event["run"])

    async def _answer(self, run: dict[str, Any]) -> None:
        on = {"actor": SRE, "project": run["project"], "run_id": run["id"]}
        if run["status"] == "planned" and run["plan"] is not None:
            await self.send(StartRun(**on, plan=run["plan"]))
        elif run["status"] == "waiting":
            if run["candidate"] is None or run["blocked_by"]["who"] != "approver":
                raise RuntimeError(f"{run['id']} waits: {run['blocked_by']}")
            await self.send(ApproveCandidate(**on, candidate=run["candidate"]))
        elif run["status"] == "succeeded":
            self.ended += 1
            self.took_s[run["project"]] = time.perf_counter() - self.began[run["project"]]

    async def request(self, project: str) -> None:
        self.began[project] = time.perf_counter()
        await self._ask(project)

    async def _ask(self, project: str) -> None:
        await self.send(RequestPlan(actor=SRE, project=project, systems={"auth-system": "1.3.0"}))

    async def until(self, condition: Callable[[], bool], within_s: float) -> None:
        """Wait until the events have made `condition` true. Raises TimeoutError."""
        async with asyncio.timeout(within_s), self.changed:
            await self.changed.wait_for(condition)


def _goes_on_by_itself(event: bytes) -> bool:
    """A Run that waits for nobody, told by the beginning of its event: most are, and reading them costs."""
    status = event[:_STATUS_WITHIN].partition(b'"status":"')[2].partition(b'"')[0]
    return event.startswith(b'{"run":') and status in {b"planning", b"running", b"rolling-back"}


@dataclass
class System:
    """The five processes and what they stand on."""

    kafka: ApacheKafka
    postgres: EmbeddedPostgres
    services: dict[str, Child]
    driver: Driver
    start: Callable[[str], Child]
    """Begins the process of one service; kept in `services`, it ends with the bench."""

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far: ours per service, the broker's, the database's."""
        spent = {name: cpu_s(child.pid) for name, child in self.services.items()}
        return {**spent, "kafka": cpu_s(self.kafka.pid), "postgres": cpu_s(self.postgres.pid)}


def cpu_s(pid: int, *, children: bool = True) -> float:
    """CPU seconds of a process so far, and of those that it began, whether they live or have ended."""
    process = psutil.Process(pid)
    own = process.cpu_times()
    spent: float = own.user + own.system
    if not children:
        return spent
    spent += own.children_user + own.children_system
    for child in process.children(recursive=True):
        # One that ends just now has ended, for its parent, in the next look.
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            spent += times.user + times.system
    return spent


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[System]:
    """Start everything, publish the example's releases, and stop it all at the end."""
    world = World.open(folder / "world")
    async with AsyncExitStack() as stack:
        postgres = EmbeddedPostgres(folder / "postgres")
        await asyncio.to_thread(postgres.start)
        stack.callback(postgres.stop)
        kafka = await stack.enter_async_context(ApacheKafka(folder / "kafka"))
        databases = await asyncio.to_thread(service_databases, postgres)
        environment = {
            **os.environ,
            **world.environment(kafka.bootstrap_servers, databases, embedded=False),
            "UPGRADES_JOB_SLOTS": "64",
        }
        await create_topics(KafkaSettings(bootstrap_servers=kafka.bootstrap_servers))

        def start(name: str) -> Child:
            argv = [sys.executable, "-m", "bench.noop", name, str(free_port())]
            return Child(argv, log=folder / f"{name}.log", cwd=Path.cwd(), env=environment)

        services: dict[str, Child] = {}
        stack.callback(_stop, services)
        services |= {name: start(name) for name in SERVICES}
        driver = await stack.enter_async_context(_driving(kafka.bootstrap_servers, world))
        await _publish(driver, ContentStore((world.folder / "content").as_uri()), world)
        yield System(kafka, postgres, services, driver, start)


def _stop(services: dict[str, Child]) -> None:
    while services:
        _, child = services.popitem()
        child.stop(signal.SIGTERM, patience_s=10)


@asynccontextmanager
async def _driving(bootstrap_servers: str, world: World) -> AsyncIterator[Driver]:
    topics = [topic.name for topic in (RELEASE_EVENTS, PROJECT_EVENTS, VERSION_MAP_EVENTS, RUN_EVENTS)]
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False
    )
    async with producer, consumer:
        driver = Driver(producer, consumer, Commands("/bench", world.token))
        async with asyncio.TaskGroup() as group:
            following = group.create_task(driver.follow())
            yield driver
            following.cancel()


async def _publish(driver: Driver, content: ContentStore, world: World) -> None:
    for system, version in (*example.FIRST_RELEASES, example.NEW_RELEASE):
        package = await content.put(pack_folder(example.package_folder(system, version)))
        signature = await content.put(world.sign_package(system, version, package))
        await driver.send(
            PublishRelease(
                actor=LIBRARY, system=system, version=version, package=package, signature=signature
            )
        )
        await driver.until(partial(driver.published.__contains__, (system, version)), 60)


async def register(driver: Driver, projects: Sequence[str]) -> None:
    """Projects that nobody has upgraded yet; returns once their version maps are recorded."""
    for name in projects:
        project = Project(
            id=name,
            repository=f"/nowhere/{name}",
            definition=example.definition_of(name),
            approvers=(SRE.id,),
            policy=Policy(single_person=True),
        )
        pins = dict(example.FIRST_RELEASES)
        await driver.send(RegisterProject(actor=SRE, project=project, pins=pins))
    await driver.until(lambda: driver.recorded >= set(projects), 120)


async def all_at_once(driver: Driver, projects: Sequence[str], in_flight: int) -> float:
    """Every Project's run, so many at a time; runs per second from the first request to the last end."""
    began, before = time.perf_counter(), driver.ended

    def enough(count: int) -> bool:
        return driver.ended - before >= count

    for index, project in enumerate(projects):
        if index >= in_flight:
            await driver.until(partial(enough, index - in_flight + 1), 300)
        await driver.request(project)
    await driver.until(partial(enough, len(projects)), 300)
    return len(projects) / (time.perf_counter() - began)


def names(kind: str, count: int) -> list[str]:
    """As many Projects of that kind."""
    return [f"{kind}-{index}" for index in range(count)]
