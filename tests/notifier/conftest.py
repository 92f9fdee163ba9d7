"""A notifier over a real database, emptied for each test; no broker."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.storage.migrations import migrate_async
from tests.notifier.notifier_world import Notifier, running


@pytest.fixture(scope="session")
async def notifier_url(postgres: Any) -> str:
    postgres.create_database("notifier_tests")
    url: str = postgres.url("notifier_tests")
    await migrate_async("notifier", url)
    return url


@pytest.fixture
async def notifier(notifier_url: str) -> AsyncIterator[Notifier]:
    async with running(notifier_url) as world:
        yield world
