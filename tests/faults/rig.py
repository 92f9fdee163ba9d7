"""Five services as processes, two executors among them, on Apache Kafka and PostgreSQL: to be ill-treated."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

import asyncpg
from aiokafka import AIOKafkaProducer

from local import example
from local.dev import service_databases
from local.hosting import hosting
from local.kafka import ApacheKafka
from local.ports import free_port
from local.postgres import EmbeddedPostgres
from local.world import World
from shared import background
from shared.clients.content import ContentStore
from shared.contracts.policies import Policy
from shared.contracts.projects import Project
from shared.contracts.topics import (
    EXECUTOR_COMMANDS,
    RELEASE_COMMANDS,
    RELEASE_EVENTS,
    RUN_COMMANDS,
    VALIDATOR_COMMANDS,
)
from shared.messaging.topic_admin import create_topics
from shared.packages.archive import pack_folder
from shared.project_file import read_project_file, read_version_map
from shared.settings import KafkaSettings
from tests.faults.armed import Armed
from tests.faults.clocks import Clock
from tests.faults.load import MALFORMED, SRE, Load
from tests.faults.nursery import Born, Nursery, by_command
from tests.faults.program import NOWHERE

PROCESSES = ("registry", "notifier", "planner", "executor-1", "executor-2", "validator")
OLD_PINS = dict(example.FIRST_RELEASES)
UPGRADE = dict([example.NEW_RELEASE])
_POLL_S = 0.05
_CONTENT_MIB, _DATABASE_MIB = 256, 1024


class Kept:
    """A process that is started again whenever it ends, or else, if `again` is false, gone for good."""

    def __init__(self, name: str, start: Callable[[], Awaitable[Born]], *, again: bool = True) -> None:
        self.name = name
        self.starts = 0
        self.gone = asyncio.Event()
        self._again = again
        self._start = start
        self._born: Born | None = None
        self._task = asyncio.create_task(self._keep(), name=f"keeper of {name}")

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing happens to one that is not running."""
        if self._born is not None:
            self._born.send_signal(number)

    async def stop(self) -> None:
        await background.end(self._task)
        if self._born is not None:
            await self._born.stop(patience_s=10)

    async def _keep(self) -> None:
        while self._again or not self.starts:
            self._born = await self._start()
            self.starts += 1
            await self._born.ended.wait()
        self.gone.set()


class Disk:
    """A folder that is a small disk of its own, where the machine lets us mount one."""

    def __init__(self, folder: Path, size_mib: int) -> None:
        self.folder = folder
        self._size_mib = size_mib
        self.mounted = False
        folder.mkdir(parents=True)

    def __enter__(self) -> Disk:
        options = ["-t", "tmpfs", "-o", f"size={self._size_mib}m", "tmpfs", str(self.folder)]
        self.mounted = os.geteuid() == 0 and _succeeds("mount", *options)
        return self

    def __exit__(self, *_: object) -> None:
        if self.mounted:
            _succeeds("umount", "--lazy", str(self.folder))

    def fill(self) -> None:
        """Until `free`, nothing more can be written there."""
        with (self.folder / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(b"\0" * (1 << 20)):
                    pass
            except OSError:
                return

    def free(self) -> None:
        (self.folder / "filler").unlink(missing_ok=True)


def _succeeds(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


class DatabaseTime:
    """What time it is for PostgreSQL: the machine's, unless libfaketime moves it.

    It can do so for a server of single threads; one with threads it may leave hanging after a fork.
    """

    def __init__(self, library: Path | None, folder: Path) -> None:
        self._file = folder / "clock"
        self.variables: dict[str, str] = {}
        if library is not None:
            self.variables = {
                "LD_PRELOAD": str(library.resolve()),
                "FAKETIME_TIMESTAMP_FILE": str(self._file),
                "FAKETIME_CACHE_DURATION": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
            self.jump(0)

    def jump(self, offset_s: int) -> None:
        """From now on it is that much later than it is."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{offset_s:+d}\n")
        draft.chmod(0o644)
        draft.replace(self._file)


class Rig:
    """A system, its people, and a hand on everything that can break.

    The processes of `kept` are begun at once. Those that `by_command` names are begun as an operator begins
    them, from nothing; the others are forked, which is quicker.
    """

    def __init__(
        self,
        folder: Path,
        *,
        faketime: Path | None = None,
        kept: Sequence[str] = PROCESSES,
        by_command: Collection[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        folder.chmod(0o755)
        self._kept = kept
        self._by_command = by_command
        self._variables = variables or {}
        self._stack: AsyncExitStack
        self._nursery: Nursery
        self.folder = folder
        self.world = World.open(folder / "world")
        self.clocks = {name: Clock(folder / "clocks" / name) for name in kept}
        self.database_time = DatabaseTime(faketime, folder)
        self.points = Armed(folder / "points")
        self.database_disk = Disk(folder / "database", _DATABASE_MIB)
        self.postgres = EmbeddedPostgres(
            folder / "database" / "postgres", variables=self.database_time.variables
        )
        self.kafka = ApacheKafka(folder / "kafka")
        self.settings = KafkaSettings(bootstrap_servers=self.kafka.bootstrap_servers)
        self.load = Load(self.settings, self.world.token)
        self.disk = Disk(self.world.folder / "content" / "sha256", _CONTENT_MIB)
        self.processes: dict[str, Kept] = {}
        self.databases: dict[str, str] = {}
        self.real: dict[str, example.Example] = {}
        self.spare: list[str] = []
        """Registered Projects with no-op stages that nobody has upgraded."""
        self._registered = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Rig]:
        """Everything is started, and the releases are out; at the end it is all stopped."""
        async with AsyncExitStack() as self._stack:
            stack = self._stack
            for disk in (self.disk, self.database_disk):
                stack.enter_context(disk)
            await asyncio.to_thread(self.postgres.start)
            stack.push_async_callback(asyncio.to_thread, self.postgres.stop)
            await self._keep_the_log_small()
            await stack.enter_async_context(self.kafka)
            await stack.enter_async_context(hosting(self.world))
            await create_topics(self.settings)
            self.databases = await asyncio.to_thread(service_databases, self.postgres)
            self._nursery = await stack.enter_async_context(self._new_nursery())
            for name in self._kept:
                self.begin(name)
            await stack.enter_async_context(self.load.running())
            for system, version in (*example.FIRST_RELEASES, example.NEW_RELEASE):
                await self.publish(system, version, example.package_folder(system, version))
            yield self

    async def _keep_the_log_small(self) -> None:
        """The database's disk is small, and its write-ahead log must not fill it before we do."""
        connection = await asyncpg.connect(self.postgres.url())
        try:
            await connection.execute("alter system set max_wal_size = '128MB'")
            await connection.execute("select pg_reload_conf()")
        finally:
            await connection.close()

    def begin(self, name: str, *, again: bool = True) -> Kept:
        """A process of the service whose name it begins with; `again`: as often as it ends."""
        kept = self.processes[name] = Kept(name, self._starter(name), again=again)
        self._stack.push_async_callback(kept.stop)
        return kept

    def work_folder(self, name: str) -> Path:
        """The disk of that process: another machine has another, and nothing that others need lies on it."""
        return self.world.folder / "work" / name

    def _starter(self, name: str) -> Callable[[], Awaitable[Born]]:
        service, port = name.partition("-")[0], free_port()
        temporary = self.work_folder(name) / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        variables = {
            **self.world.environment(self.kafka.bootstrap_servers, self.databases, embedded=False),
            **self.clocks.setdefault(name, Clock(self.folder / "clocks" / name)).variables,
            "UPGRADES_INSTANCE": name,
            "UPGRADES_WORK_FOLDER": str(self.work_folder(name)),
            "TMPDIR": str(temporary),
            "UPGRADES_POSTGRES_BIN": str(self.postgres.bin_folder),
            "UPGRADES_JOB_SLOTS": "16",
            "UPGRADES_LEASE_S": "5",
            **self._variables,
        }
        start = by_command if name in self._by_command else self._nursery.start
        return partial(start, service, port, self.folder / f"{name}.log", variables)

    def _new_nursery(self) -> Nursery:
        outer = {key: value for key, value in os.environ.items() if not key.startswith("UPGRADE")}
        return Nursery({**outer, **self.points.variables}, self.folder / "nursery.log")

    # --- releases and Projects -------------------------------------------------------------------

    async def publish(self, system: str, version: str, package: Path) -> None:
        """Returns once it is out."""
        content = ContentStore((self.world.folder / "content").as_uri())
        digest = await content.put(pack_folder(package))
        signature = await content.put(self.world.sign_package(system, version, digest))
        await self.load.publish(system, version, digest, signature)

    async def publish_patch(self, number: int) -> None:
        """Another release of a System that has nothing new but its version."""
        system, version = example.FIRST_RELEASES[-1]
        # A package carries its whole history.
        history = [f"{version}{earlier}" for earlier in range(number, -1, -1)]
        patched = history[0]
        package = self.folder / "releases" / patched
        shutil.copytree(example.package_folder(system, version), package)
        headings = "".join(f"## {each}\n- Nothing else.\n\n" for each in history)
        for name, old, new in (
            ("system.toml", f'version = "{version}"', f'version = "{patched}"'),
            ("CHANGELOG.md", f"## {version}\n", f"{headings}## {version}\n"),
            ("MIGRATION.md", f"## {version}\n", f"{headings}## {version}\n"),
        ):
            text = (package / name).read_text()
            (package / name).write_text(text.replace(old, new))
        await self.publish(system, patched, package)

    async def register_no_ops(self, count: int, kind: str = "none") -> None:
        """Projects whose stages do nothing; they are spare when this returns."""
        names = [f"{kind}-{self._registered + number}" for number in range(count)]
        self._registered += count
        projects = [
            Project(
                id=name,
                repository=f"{NOWHERE}{name}",
                definition=example.definition_of(name),
                approvers=(SRE.id,),
                policy=Policy(single_person=True),
            )
            for name in names
        ]
        await self.load.register(*projects, pins=OLD_PINS)
        self.spare += names

    async def register_real(self, partner: str, edits: Mapping[str, str] = MappingProxyType({})) -> str:
        """The example's portal, live in production; the Project's id. `edits` are files that are other."""
        made = await example.set_up(self.world, self.postgres.url(), partner=partner, edits=edits)
        name = f"{partner}-portal"
        definition = read_project_file((made.checkout / "upgradepath.toml").read_text())
        project = Project(
            id=name,
            repository=str(made.repository),
            definition=definition,
            approvers=(SRE.id,),
            policy=Policy(single_person=True),
        )
        pins = read_version_map((made.checkout / "version-map.yaml").read_text())
        await self.load.register(project, pins=pins)
        self.real[name] = made
        return name

    async def send_malformed(self) -> None:
        """To each service something that is no message: it is put away, and nothing waits behind it."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.bootstrap_servers, acks="all", enable_idempotence=True
        )
        async with producer:
            for topic in (
                RELEASE_COMMANDS,
                RELEASE_EVENTS,
                RUN_COMMANDS,
                EXECUTOR_COMMANDS,
                VALIDATOR_COMMANDS,
            ):
                await producer.send_and_wait(topic.name, MALFORMED)

    async def take_down(self) -> None:
        """Stop the portals."""
        for made in self.real.values():
            await example.destroy(self.world, made.checkout)

    # --- what breaks -----------------------------------------------------------------------------

    async def start_postgres(self) -> None:
        await asyncio.to_thread(self.postgres.start)

    async def kill_postgres(self) -> None:
        await asyncio.to_thread(self.postgres.kill)

    async def settled(self, within_s: float) -> bool:
        """Whether every Run has ended or waits for a person who has nothing more to say, within that time."""
        end = time.monotonic() + within_s
        while any(asked.ended_s is None for asked in self.load.asked.values()):
            if time.monotonic() > end:
                return False
            await asyncio.sleep(_POLL_S)
        return True
