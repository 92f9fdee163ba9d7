"""The two systems on which the journeys run: each is started once, and holds a Project per journey."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import pytest

from local.kafka import ApacheKafka, availability
from tests.conftest import PostgresServer
from tests.support.portal import Portal, publish_examples
from tests.support.system import Embedded, FiveProcesses, System, processes_in


@asynccontextmanager
async def _dev(prefix: str) -> AsyncIterator[Embedded]:
    """`upgradepath dev` with the examples published; nothing of it is left afterwards."""
    with TemporaryDirectory(prefix=prefix) as folder:
        system = Embedded(Path(folder))
        await system.start()
        try:
            await publish_examples(system)
            yield system
        finally:
            await system.stop()
        assert processes_in(Path(folder)) == []


@pytest.fixture(scope="session")
async def embedded() -> AsyncIterator[Embedded]:
    """The embedded system that journeys share: nothing more is published in it."""
    async with _dev("upgradepath-dev-") as system:
        system.shared = True
        yield system


@pytest.fixture
async def own_world() -> AsyncIterator[Embedded]:
    """An embedded system for one journey alone, which may publish in it."""
    async with _dev("upgradepath-own-") as system:
        yield system


@pytest.fixture(scope="session")
async def five(postgres: PostgresServer) -> AsyncIterator[FiveProcesses]:
    """Five processes and Apache Kafka, which journeys share: nothing more is published in it."""
    if reason := availability():
        if os.environ.get("CI") == "true":
            pytest.fail(f"Apache Kafka: {reason}")
        pytest.skip(f"Apache Kafka: {reason}")
    with TemporaryDirectory(prefix="upgradepath-five-") as name:
        folder = Path(name)
        async with ApacheKafka(folder / "kafka") as kafka:
            system = FiveProcesses(folder / "world", kafka, postgres)
            async with system.running():
                await publish_examples(system)
                system.shared = True
                yield system
        assert processes_in(folder) == []


@pytest.fixture(params=["embedded", "five"])
def system(request: pytest.FixtureRequest) -> System:
    """Each of the two in turn."""
    found: System = request.getfixturevalue(request.param)
    return found


class Portals:
    """Opens portals, and closes them after the test."""

    def __init__(self) -> None:
        self._opened: list[Portal] = []

    async def open(
        self,
        system: System,
        partner: str,
        *variants: str,
        edits: Mapping[str, str] = MappingProxyType({}),
    ) -> Portal:
        """A registered Project that is live in production, and has been told of the new release."""
        portal = await self.make(system, partner, *variants, edits=edits)
        await portal.introduce()
        return portal

    async def make(
        self,
        system: System,
        partner: str,
        *variants: str,
        edits: Mapping[str, str] = MappingProxyType({}),
    ) -> Portal:
        """A portal that is live in production, of which the system does not know yet."""
        portal = await Portal.make(system, partner, *variants, edits=edits)
        self._opened.append(portal)
        return portal

    async def close(self) -> None:
        for portal in self._opened:
            await portal.close()


@pytest.fixture
async def portals() -> AsyncIterator[Portals]:
    opened = Portals()
    yield opened
    await opened.close()
