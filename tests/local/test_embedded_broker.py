"""The embedded broker carries records, forgets them, and says why it cannot start."""

from __future__ import annotations

import socket

import pytest

from local.broker import EmbeddedBroker
from local.process import CannotStart
from tests.local.numbered_records import Records


async def test_records_come_out_in_order() -> None:
    async with EmbeddedBroker() as broker:
        records = Records(broker.bootstrap_servers, "numbers")
        await records.make_topic()
        await records.send(range(20), idempotent=False)
        assert await records.read(20) == list(range(20))


async def test_it_comes_back_empty_at_the_same_address() -> None:
    async with EmbeddedBroker() as broker:
        before = broker.bootstrap_servers
        records = Records(before, "numbers")
        await records.make_topic()
        await records.send(range(3), idempotent=False)
        await broker.stop()
        await broker.start()
        assert broker.bootstrap_servers == before
        await records.make_topic()
        await records.send(range(7, 9), idempotent=False)
        assert await records.read(2) == [7, 8]


async def test_a_taken_port_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broker = EmbeddedBroker(port=taken.getsockname()[1])
        with pytest.raises(CannotStart, match="is taken"):
            await broker.start()


async def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", "/nowhere/tansu")
    with pytest.raises(CannotStart, match="/nowhere/tansu"):
        await EmbeddedBroker().start()
