"""The embedded broker wakes nobody: a consumer asks it when this process has sent something, else seldom."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import pytest

from shared.contracts.topics import RELEASE_COMMANDS
from shared.messaging import embedded_fetches
from shared.messaging.publisher import publishing
from tests.brokers.place import Place, eventually, versions


async def test_what_this_process_sends_is_fetched_without_waiting(
    embedded_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = embedded_place
    monkeypatch.setattr(embedded_fetches, "_ASK_EVERY_S", 3600.0)
    async with publishing(place.settings) as publisher, place.service().running() as service:
        # The first may still be found by the fetch with which a consumer begins.
        for number in range(3):
            [(key, body, headers)] = place.commands([number])
            await publisher.publish([(RELEASE_COMMANDS.name, key, body, tuple(headers))])
            await eventually(partial(service.counted_at_least, place.name, number + 1), bool)
        assert await service.counted(place.name) == versions(range(3))


async def test_a_consumer_that_has_read_all_asks_a_few_times_a_second(embedded_place: Place) -> None:
    place = embedded_place
    async with place.service().running() as service:
        await place.send(place.commands([0]))
        await eventually(partial(service.counted_at_least, place.name, 1), bool)
        [subscriber] = service.consumer._subscribers
        client: Any = subscriber.consumer._client
        send, asked, enough = client.send, 0, asyncio.Event()

        async def counted(node: Any, request: Any, **options: Any) -> Any:
            nonlocal asked
            if type(request).__name__.startswith("FetchRequest"):
                asked += 1
                if asked == 5:
                    enough.set()
            return await send(node, request, **options)

        client.send = counted
        began = time.monotonic()
        await asyncio.wait_for(enough.wait(), 30)
        # One may follow what was read last at once; a load makes it longer only.
        assert time.monotonic() - began > 2.5 * embedded_fetches._ASK_EVERY_S
