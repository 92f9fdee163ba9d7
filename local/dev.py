"""`upgradepath dev`: all five services in one process, with a broker and a PostgreSQL of their own."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from local.broker import EmbeddedBroker
from local.hosting import hosting
from local.postgres import EmbeddedPostgres
from local.roles import new_role
from local.world import HOST, TOKENS_VALID_FOR, World
from services.processes import build, kept_serving
from shared import background
from shared.application import Service
from shared.contracts.topics import SERVICES
from shared.messaging.topic_admin import create_topics
from shared.settings import KafkaSettings


@dataclass(frozen=True)
class Dev:
    """A world that runs."""

    world: World
    postgres: EmbeddedPostgres
    bootstrap_servers: str


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Dev]:
    """Start the world in `folder`, and stop it when the block ends; it can be started again."""
    world = World.open(folder)
    postgres = EmbeddedPostgres(world.folder / "postgres", port=world.postgres_port)
    await asyncio.to_thread(postgres.start)
    try:
        databases = await asyncio.to_thread(service_databases, postgres)
        async with EmbeddedBroker() as broker, hosting(world):
            os.environ.update(world.environment(broker.bootstrap_servers, databases, embedded=True))
            scratch = await new_role(postgres.url(), "upgrades_scratch", makes_databases=False)
            os.environ.setdefault("UPGRADES_SCRATCH_DATABASE_URL", scratch)
            os.environ.setdefault("UPGRADES_POSTGRES_BIN", str(postgres.bin_folder))
            await create_topics(KafkaSettings(), world.pools)
            async with kept_serving(_build_all, HOST, world.port):
                world.announce(broker.bootstrap_servers, postgres.url())
                renewing = asyncio.create_task(_renew_tokens(world, broker.bootstrap_servers, postgres.url()))
                try:
                    yield Dev(world, postgres, broker.bootstrap_servers)
                finally:
                    await background.end(renewing)
    finally:
        world.withdraw()
        await asyncio.to_thread(postgres.stop)


async def _renew_tokens(world: World, bootstrap_servers: str, postgres_url: str) -> None:
    """Announce new tokens long before those that people use come to their end."""
    while True:
        await asyncio.sleep(TOKENS_VALID_FOR.total_seconds() / 2)
        world.announce(bootstrap_servers, postgres_url)


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
