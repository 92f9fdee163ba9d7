"""`upgradepath dev`: all five services in one process, with a broker and a PostgreSQL of their own."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import asyncpg

from local.broker import EmbeddedBroker
from local.hosting import Hosting, hosting
from local.postgres import EmbeddedPostgres
from local.roles import new_role
from local.supervision import Program, supervise
from local.world import HOST, TOKENS_VALID_FOR, World
from services.processes import build, kept_serving
from shared import background
from shared.application import Service
from shared.contracts.topics import SERVICES
from shared.messaging.topic_admin import create_topics
from shared.settings import KafkaSettings

_LEARN_S = 1.0


@dataclass(frozen=True)
class Dev:
    """A world that runs. `supervisor` ends only by raising CannotStart: then the world cannot go on."""

    world: World
    postgres: EmbeddedPostgres
    broker: EmbeddedBroker
    supervisor: asyncio.Task[NoReturn]

    @property
    def bootstrap_servers(self) -> str:
        return self.broker.bootstrap_servers


@asynccontextmanager
async def running(folder: Path, *, fsync: bool = True) -> AsyncIterator[Dev]:
    """Start the world in `folder`, and stop it when the block ends; it can be started again.

    Without `fsync` PostgreSQL is faster, and a power cut may cost the world; a kill of processes does not.
    """
    world = World.open(folder)
    postgres = EmbeddedPostgres(world.folder / "postgres", port=world.postgres_port, fsync=fsync)
    await asyncio.to_thread(postgres.start)
    try:
        databases = await asyncio.to_thread(service_databases, postgres)
        async with EmbeddedBroker() as broker, hosting(world) as partners_hosting:
            os.environ.update(world.environment(broker.bootstrap_servers, databases, embedded=True))
            scratch = await new_role(postgres.url(), "upgrades_scratch", makes_databases=False)
            os.environ.setdefault("UPGRADES_SCRATCH_DATABASE_URL", scratch)
            os.environ.setdefault("UPGRADES_POSTGRES_BIN", str(postgres.bin_folder))
            await create_topics(KafkaSettings(), world.pools)
            anew = asyncio.Event()
            async with kept_serving(_build_all, HOST, world.port, anew):
                world.announce(broker.bootstrap_servers, postgres.url())
                programs = _programs(world, postgres, broker, partners_hosting, anew)
                supervisor = asyncio.create_task(supervise(programs), name="supervisor")
                renewing = asyncio.create_task(_renew_tokens(world, broker.bootstrap_servers, postgres.url()))
                learning = asyncio.create_task(
                    _learn_projects(world, databases["registry"], broker.bootstrap_servers, postgres.url())
                )
                try:
                    yield Dev(world, postgres, broker, supervisor)
                finally:
                    await background.end(learning)
                    await background.end(renewing)
                    await background.end(supervisor)
    finally:
        world.withdraw()
        await asyncio.to_thread(postgres.stop)


def _programs(
    world: World,
    postgres: EmbeddedPostgres,
    broker: EmbeddedBroker,
    partners_hosting: Hosting,
    anew: asyncio.Event,
) -> list[Program]:
    async def start_postgres() -> None:
        await asyncio.to_thread(postgres.stop)
        await asyncio.to_thread(postgres.start)

    async def start_broker() -> None:
        await broker.stop()
        await broker.start()
        await create_topics(KafkaSettings(), world.pools)
        # It has forgotten every record and offset: the services begin with it as at a start of the world.
        anew.set()

    async def start_hosting() -> None:
        await partners_hosting.stop()
        await partners_hosting.start()

    async def ask_postgres() -> None:
        try:
            connection = await asyncpg.connect(postgres.url())
        except asyncpg.PostgresError:
            # No connection is left for us, say: that is an answer.
            return
        try:
            await connection.execute("SELECT 1")
        finally:
            connection.terminate()

    return [
        Program(
            "PostgreSQL", lambda: postgres.running, start_postgres, "its data is as it was", ask_postgres
        ),
        Program(
            "the broker",
            lambda: broker.running,
            start_broker,
            "the services begin anew with it, from what their databases hold",
            broker.ask,
        ),
        Program(
            "the hosting",
            lambda: partners_hosting.running,
            start_hosting,
            "the apps have run on",
            partners_hosting.ask,
        ),
    ]


async def _renew_tokens(world: World, bootstrap_servers: str, postgres_url: str) -> None:
    """Announce new tokens long before those that people use come to their end."""
    while True:
        await asyncio.sleep(TOKENS_VALID_FOR.total_seconds() / 2)
        world.announce(bootstrap_servers, postgres_url)


async def _learn_projects(world: World, registry_url: str, bootstrap_servers: str, postgres_url: str) -> None:
    """Let the maintainer of this world decide for each Project, whoever registers it."""
    while True:
        await asyncio.sleep(_LEARN_S)
        if world.add_projects(await _registered(registry_url)):
            world.announce(bootstrap_servers, postgres_url)


async def _registered(registry_url: str) -> list[str]:
    """The Projects that the registry has; none while its database is away."""
    try:
        connection = await asyncpg.connect(registry_url)
        try:
            return [row["id"] for row in await connection.fetch("SELECT id FROM projects")]
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        # The supervisor starts it again, and the next look sees what is there.
        return []


def _build_all() -> list[Service]:
    return [build(name) for name in SERVICES]


def service_databases(postgres: EmbeddedPostgres) -> dict[str, str]:
    """A database per service, made when missing; the URL of each."""
    urls = {}
    for service in SERVICES:
        name = f"upgrades_{service}"
        postgres.create_database(name)
        urls[service] = postgres.url(name)
    return urls
