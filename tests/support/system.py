"""The whole system behind one URL: `upgradepath dev`, or five processes beside an Apache Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import httpx
import psutil

from local.hosting import hosting
from local.kafka import ApacheKafka
from local.ports import free_port
from local.process import Child
from local.world import HOST, World
from services.executor.clients.postgres import session
from shared.contracts.topics import SERVICES
from shared.contracts.values import Actor
from shared.messaging.topic_admin import create_topics
from shared.settings import KafkaSettings
from tests.conftest import PostgresServer
from tests.support.front import reverse_proxy

ROOT = Path(__file__).resolve().parents[2]
_READY_WITHIN_S = 90.0
_STOP_WITHIN_S = 30.0
_POLL_S = 0.05


async def close_databases(server_url: str) -> None:
    """Let nobody but its owner into a database there, as an operator does before partners come.

    Other tests of the session leave databases that everybody may enter, for which a review refuses Projects.
    """
    async with session(server_url) as connection:
        names = await connection.fetch(
            "SELECT quote_ident(datname) FROM pg_database"
            " WHERE datname NOT IN ('postgres', 'template0', 'template1')"
        )
        for (name,) in names:
            await connection.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")


class System(Protocol):
    """What a journey needs of a running system, however it runs."""

    world: World
    url: str
    postgres_url: str
    kafka: KafkaSettings
    # Journeys share it: one that published another release would outdate the plans of all others.
    shared: bool

    def token(self, actor: Actor) -> str: ...

    def logs(self) -> str: ...


class Embedded:
    """`upgradepath dev` as a child process; it can be stopped, killed and started again."""

    def __init__(
        self,
        folder: Path,
        variables: Mapping[str, str] = MappingProxyType({}),
        pools: Sequence[str] = (),
    ) -> None:
        self.world = World.open(folder, pools)
        self._variables = dict(variables)
        self.url = ""
        self.postgres_url = ""
        self.kafka = KafkaSettings(embedded=True)
        self.shared = False
        self._log = self.world.folder / "dev.log"
        self._child: Child | None = None

    def token(self, actor: Actor) -> str:
        return self.world.token(actor)

    def logs(self) -> str:
        """Everything that the services have said, and the greeting."""
        return self._log.read_text(errors="replace")

    async def start(self) -> None:
        """Returns when all services answer."""
        announced = self.world.folder / "world.json"
        # One that was killed has left it.
        announced.unlink(missing_ok=True)
        folder = str(self.world.folder)
        self._child = await asyncio.to_thread(
            Child,
            [sys.executable, "-m", "cli", "dev", "--world", folder, "--verbose", "--no-fsync"],
            log=self._log,
            cwd=ROOT,
            env=_outer_environment() | self._variables,
        )
        await _until(announced.is_file, self._child)
        document = json.loads(announced.read_text())
        self.url, self.postgres_url = document["url"], document["postgres"]
        self.kafka = KafkaSettings(bootstrap_servers=document["bootstrap_servers"], embedded=True)

    async def stop(self) -> None:
        """As Ctrl-C does. Safe to repeat."""
        if self._child is not None:
            await asyncio.to_thread(self._child.stop, signal.SIGTERM, patience_s=_STOP_WITHIN_S)
            self._child = None

    def cpu_s(self) -> float:
        """What the services and the programs that they have run to their end have used so far."""
        assert self._child is not None
        return sum(psutil.Process(self._child.pid).cpu_times()[:4])

    async def command(self, *words: str) -> tuple[int, str]:
        """What an SRE types beside this world: the exit code and what it prints."""
        world = {"UPGRADEPATH_WORLD": str(self.world.folder)}
        return await run_command(words, _outer_environment() | world)

    def program(self, *words: str) -> psutil.Process:
        """The program that `dev` has started with these among its words."""
        assert self._child is not None
        (found,) = [
            each
            for each in psutil.Process(self._child.pid).children()
            if all(any(word in given for given in each.cmdline()) for word in words)
        ]
        return found

    async def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._child is not None
        return await asyncio.to_thread(self._child.wait, _STOP_WITHIN_S)

    async def kill(self) -> None:
        """As a power cut does, for this process and for what it started."""
        assert self._child is not None
        await asyncio.to_thread(self._child.kill)
        self._child = None


class FiveProcesses:
    """Apache Kafka, a PostgreSQL server, and each service as a process of its own.

    `variables` are for all of them, those of `per_service` for one; the databases are named after `prefix`,
    and `settings` are how the test itself comes to the broker.
    """

    def __init__(
        self,
        folder: Path,
        kafka: ApacheKafka,
        postgres: PostgresServer,
        *,
        prefix: str = "upgrades",
        variables: Mapping[str, str] = MappingProxyType({}),
        per_service: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
        settings: KafkaSettings | None = None,
    ) -> None:
        self.world = World.open(folder)
        self.url = self.world.url
        self.postgres_url = postgres.url()
        self.shared = False
        self.kafka = settings or KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
        self.databases: dict[str, str] = {}
        for name in SERVICES:
            postgres.create_database(f"{prefix}_{name}")
            self.databases[name] = postgres.url(f"{prefix}_{name}")
        self._environment = (
            _outer_environment()
            | self.world.environment(kafka.bootstrap_servers, self.databases, embedded=False)
            | {"UPGRADES_POSTGRES_BIN": str(postgres.bin_folder)}
            | dict(variables)
        )
        self._per_service = per_service
        self._ports = {name: free_port() for name in SERVICES}
        self._children: dict[str, Child] = {}

    def token(self, actor: Actor) -> str:
        return self.world.token(actor)

    def logs(self) -> str:
        """Everything that the services have said."""
        return "".join(path.read_text(errors="replace") for path in self.world.folder.glob("*.log"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FiveProcesses]:
        """Start all five behind one URL, and stop them when the block ends."""
        await close_databases(self.postgres_url)
        await create_topics(self.kafka)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(hosting(self.world))
            for name in SERVICES:
                self._spawn(name)
                stack.push_async_callback(self._stop, name)
            for name in SERVICES:
                await self._until_ready(name)
            services = {name: self.address(name) for name in SERVICES}
            await stack.enter_async_context(reverse_proxy(self.world.port, services))
            yield self

    async def restart(self, name: str) -> None:
        """Kill one service at whatever it does, and start it again."""
        await asyncio.to_thread(self._children[name].kill)
        self._spawn(name)
        await self._until_ready(name)

    async def stop_service(self, name: str) -> None:
        """As a deployment does: it ends in order, and what it has read is committed."""
        await self._stop(name)

    @asynccontextmanager
    async def away(self, name: str) -> AsyncIterator[None]:
        """The service does not run while the block lasts."""
        await self._stop(name)
        try:
            yield
        finally:
            self._spawn(name)
            await self._until_ready(name)

    async def start_on(self, name: str, database_url: str) -> None:
        """Start a stopped service on another database than before."""
        self.databases[name] = database_url
        self._environment[f"UPGRADES_{name.upper()}_DATABASE_URL"] = database_url
        self._spawn(name)
        await self._until_ready(name)

    async def command(self, *words: str) -> tuple[int, str]:
        """What an SRE types beside the servers: the exit code and what it prints."""
        sre = self.token(Actor(id="sre@upgradepath.example", role="sre"))
        place = {"UPGRADEPATH_URL": self.url, "UPGRADEPATH_TOKEN": sre}
        return await run_command(words, self._environment | place)

    @asynccontextmanager
    async def frozen(self, name: str) -> AsyncIterator[None]:
        """The service's process stands still while the block lasts."""
        os.kill(self._children[name].pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._children[name].pid, signal.SIGCONT)

    def _spawn(self, name: str) -> None:
        self._children[name] = Child(
            # As `upgradepath service` goes on once it has read its words, which takes a second of its own.
            [sys.executable, "-P", "-m", "cli.one_service", name, HOST, str(self._ports[name])],
            log=self.world.folder / f"{name}.log",
            cwd=ROOT,
            env=self._environment | dict(self._per_service.get(name, {})),
        )

    async def _stop(self, name: str) -> None:
        await asyncio.to_thread(self._children[name].stop, signal.SIGTERM, patience_s=_STOP_WITHIN_S)

    def address(self, name: str) -> str:
        """Where one service answers by itself, without the others."""
        return f"http://{HOST}:{self._ports[name]}"

    async def _until_ready(self, name: str) -> None:
        async with httpx.AsyncClient(base_url=self.address(name), trust_env=False) as client:
            end = time.monotonic() + _READY_WITHIN_S
            while not await _is_healthy(client):
                child = self._children[name]
                assert child.running, f"{name} ended while starting{child.log_tail()}"
                assert time.monotonic() < end, f"{name} does not answer{child.log_tail()}"
                await asyncio.sleep(_POLL_S)


async def run_command(words: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """`upgradepath` with these words: its exit code, and what it prints to stdout."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli",
        *words,
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    assert "Traceback" not in complained.decode(), complained.decode()
    return process.returncode or 0, said.decode() or complained.decode()


async def _is_healthy(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def _until(condition: Callable[[], bool], child: Child) -> None:
    end = time.monotonic() + _READY_WITHIN_S
    while not condition():
        assert child.running, f"it ended while starting{child.log_tail()}"
        assert time.monotonic() < end, f"it is not ready{child.log_tail()}"
        await asyncio.sleep(_POLL_S)


def _outer_environment() -> dict[str, str]:
    """Our own environment without what would lead to another system."""
    return {name: value for name, value in os.environ.items() if not name.startswith("UPGRADE")}


def processes_in(folder: Path) -> list[str]:
    """Every process that works in `folder` or below it, or was told of it."""
    return [f"{process.pid} {process.info['cmdline']}" for process in _processes_in(folder)]


def end_processes_in(folder: Path) -> list[str]:
    """Ends what a journey has left there; what it was."""
    left = processes_in(folder)
    for process in _processes_in(folder):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return left


def _processes_in(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cwd", "cmdline"])
        if process.pid != os.getpid()
        and str(folder) in f"{process.info['cwd']} {' '.join(process.info['cmdline'] or ())}"
    ]
