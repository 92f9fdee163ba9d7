"""An inbox over a real database, with one command and one event; no broker."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from tests.conftest import PostgresServer
from tests.messaging.counting import Counting

_numbers = itertools.count(1)


@pytest.fixture
async def counting(postgres: PostgresServer) -> AsyncIterator[Counting]:
    name = f"messaging_{next(_numbers)}"
    postgres.create_database(name)
    counting = Counting(postgres.url(name))
    await counting.create_tables()
    yield counting
    await counting.database.close()
