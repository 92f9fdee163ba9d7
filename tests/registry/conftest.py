"""A registry over a real database, emptied for each test; no broker."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.storage.migrations import migrate_async
from tests.registry.registry_world import Registry, running


@pytest.fixture(scope="session")
async def registry_url(postgres: Any) -> str:
    postgres.create_database("registry_tests")
    url: str = postgres.url("registry_tests")
    await migrate_async("registry", url)
    return url


@pytest.fixture
async def registry(registry_url: str) -> AsyncIterator[Registry]:
    async with running(registry_url) as world:
        yield world
