"""Eight-stage runs through the five services, as five processes, on Apache Kafka and PostgreSQL."""

import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.floor import commits_per_second
from bench.result import Result, against
from local import example
from local.dev import service_databases
from local.kafka import ApacheKafka
from local.ports import free_port
from local.postgres import EmbeddedPostgres
from local.process import Child
from local.world import World
from shared.clients.content import ContentStore
from shared.clock import utc_now
from shared.contracts.envelope import Envelope, receive, to_body, to_headers
from shared.contracts.projects import Project, RegisterProject
from shared.contracts.releases import PublishRelease, ReleasePublished
from shared.contracts.runs import ApproveCandidate, RequestPlan, RunChanged, RunView, StartRun
from shared.contracts.topics import PROJECT_EVENTS, RELEASE_EVENTS, RUN_EVENTS, SERVICES, VERSION_MAP_EVENTS
from shared.contracts.values import Actor, Command
from shared.contracts.version_maps import VersionMapRecorded
from shared.messaging.topic_admin import create_topics
from shared.packages.archive import pack_folder
from shared.project_file import read_project_file
from shared.settings import KafkaSettings

WARM_UP, MEASURED, LONE, IN_FLIGHT = 40, 200, 8, 100
FLOOR_RUNS = 2000
LIBRARY = Actor(id="library@bench.example", role="library")
SRE = Actor(id="sre@bench.example", role="sre")


@dataclass
class Driver:
    """Plays the Library and the maintainers over the topics: answers whatever a Run waits for, at once."""

    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    began: dict[str, float] = field(default_factory=dict)
    took_s: dict[str, float] = field(default_factory=dict)
    recorded: set[str] = field(default_factory=set)
    published: set[tuple[str, str]] = field(default_factory=set)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def send(self, command: Command) -> None:
        envelope = Envelope(
            id=str(uuid.uuid4()),
            source="/bench",
            type=command.type_name(),
            subject=command.key(),
            time=utc_now(),
        )
        headers = list(to_headers(envelope))
        await self.producer.send(
            command.topic.name, to_body(command), command.key().encode(), headers=headers
        )

    async def follow(self) -> None:
        """Read every event and do what a person would do then."""
        async for record in self.consumer:
            message = receive(record.headers, record.value).message
            match message:
                case ReleasePublished():
                    self.published.add((message.release.system, message.release.version))
                case VersionMapRecorded():
                    self.recorded.add(message.version_map.project)
                case RunChanged():
                    await self._answer(message.run)
                case _:
                    continue
            async with self.changed:
                self.changed.notify_all()

    async def _answer(self, run: RunView) -> None:
        if run.status == "planned" and run.plan is not None:
            await self.send(StartRun(actor=SRE, project=run.project, run_id=run.id, plan=run.plan))
        elif run.status == "waiting":
            if run.candidate is None or run.blocked_by is None or run.blocked_by.who != "approver":
                raise RuntimeError(f"{run.id} waits: {run.blocked_by}")
            approve = ApproveCandidate(actor=SRE, project=run.project, run_id=run.id, candidate=run.candidate)
            await self.send(approve)
        elif run.status == "succeeded":
            self.took_s[run.project] = time.perf_counter() - self.began[run.project]

    async def request(self, project: str) -> None:
        self.began[project] = time.perf_counter()
        await self.send(RequestPlan(actor=SRE, project=project, systems={"auth-system": "1.3.0"}))

    async def until(self, condition: Callable[[], bool], within_s: float) -> None:
        """Wait until the events have made `condition` true. Raises TimeoutError."""
        async with asyncio.timeout(within_s), self.changed:
            await self.changed.wait_for(condition)


@dataclass
class System:
    """The five processes and what they stand on."""

    kafka: ApacheKafka
    postgres: EmbeddedPostgres
    services: dict[str, Child]
    driver: Driver

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far: ours per service, the broker's, the database's."""
        spent = {name: _cpu_s(child.pid) for name, child in self.services.items()}
        return {**spent, "kafka": _cpu_s(self.kafka.pid), "postgres": _cpu_s(self.postgres.pid)}


def _cpu_s(pid: int) -> float:
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[System]:
    """Start everything, publish two releases of auth-system, and stop it all at the end."""
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
        services = {}
        for name in SERVICES:
            argv = [sys.executable, "-m", "bench.noop", name, str(free_port())]
            child = Child(argv, log=folder / f"{name}.log", cwd=Path.cwd(), env=environment)
            stack.callback(child.stop, signal.SIGTERM, patience_s=10)
            services[name] = child
        driver = await stack.enter_async_context(_driving(kafka.bootstrap_servers))
        await _publish(driver, ContentStore((world.folder / "content").as_uri()))
        yield System(kafka, postgres, services, driver)


@asynccontextmanager
async def _driving(bootstrap_servers: str) -> AsyncIterator[Driver]:
    topics = [topic.name for topic in (RELEASE_EVENTS, PROJECT_EVENTS, VERSION_MAP_EVENTS, RUN_EVENTS)]
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False
    )
    async with producer, consumer:
        driver = Driver(producer, consumer)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(driver.follow())
            yield driver
            following.cancel()


async def _publish(driver: Driver, content: ContentStore) -> None:
    for system, version in (*example.FIRST_RELEASES, example.NEW_RELEASE):
        package = await content.put(pack_folder(example.package_folder(system, version)))
        await driver.send(PublishRelease(actor=LIBRARY, system=system, version=version, package=package))
        await driver.until(partial(driver.published.__contains__, (system, version)), 60)


async def _register(driver: Driver, projects: Sequence[str]) -> None:
    text = (example.EXAMPLES / "project" / "upgradepath.toml").read_text()
    definition = read_project_file(text)
    for name in projects:
        project = Project(
            id=name,
            repository="/nowhere",
            definition=definition.model_copy(update={"id": name}),
            approvers=(SRE.id,),
        )
        pins = dict(example.FIRST_RELEASES)
        await driver.send(RegisterProject(actor=SRE, project=project, pins=pins))
    await driver.until(lambda: driver.recorded >= set(projects), 120)


async def _all_at_once(driver: Driver, projects: Sequence[str]) -> float:
    """Every Project's run, `IN_FLIGHT` at a time; runs per second from the first request to the last end."""
    began = time.perf_counter()
    for index, project in enumerate(projects):
        if index >= IN_FLIGHT:
            await driver.until(partial(_enough, driver, projects, index - IN_FLIGHT + 1), 300)
        await driver.request(project)
    await driver.until(partial(_enough, driver, projects, len(projects)), 300)
    return len(projects) / (time.perf_counter() - began)


def _enough(driver: Driver, projects: Sequence[str], enough: int) -> bool:
    return sum(project in driver.took_s for project in projects) >= enough


async def measure() -> list[Result]:
    """Runs per second against the floor, the CPU that they cost and where, and one run alone."""
    with tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as name:
        async with running(Path(name)) as system:
            warm_up = [f"warm-{index}" for index in range(WARM_UP)]
            lone = [f"lone-{index}" for index in range(LONE)]
            measured = [f"many-{index}" for index in range(MEASURED)]
            await _register(system.driver, [*warm_up, *lone, *measured])
            await _all_at_once(system.driver, warm_up)
            for project in lone:
                await system.driver.request(project)
                await system.driver.until(partial(_enough, system.driver, [project], 1), 60)
            await asyncio.to_thread(system.postgres.create_database, "floor")
            floor_before = await commits_per_second(system.postgres.url("floor"), FLOOR_RUNS)
            cpu_before = system.cpu_s()
            rate = await _all_at_once(system.driver, measured)
            cpu_after = system.cpu_s()
            floor_after = await commits_per_second(system.postgres.url("floor"), FLOOR_RUNS)
    floor = statistics.mean((floor_before, floor_after))
    per_1000 = {name: (cpu_after[name] - cpu_before[name]) * 1000 / MEASURED for name in cpu_after}
    return [
        Result("nine commits a run, alone", floor, "runs/s"),
        against("eight-stage no-op runs through five services", rate, "runs/s", floor),
        Result(
            "one run alone, median", statistics.median(system.driver.took_s[p] for p in lone) * 1000, "ms"
        ),
        *(Result(f"CPU of {name}", spent, "s per 1,000 runs") for name, spent in per_1000.items()),
    ]
