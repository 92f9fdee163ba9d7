"""What a consumer tells of itself: how far behind it is, and whether it gets anywhere."""

import asyncio

from shared.contracts.releases import PublishRelease
from shared.messaging.gauges import lag
from tests.brokers.place import Place, eventually
from tests.brokers.tiny_service import TinyService


async def test_lag_counts_what_is_not_handled_yet_and_falls_to_nothing(place: Place) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: PublishRelease) -> None:
        reached.set()
        await go_on.wait()

    async def behind(service: TinyService) -> float:
        (family,) = await lag(service.consumer)()
        return sum(sample.value for sample in family.samples)

    async with place.service(hold).running() as service:
        await place.send(place.commands(range(20)))
        await reached.wait()
        assert await behind(service) == 20
        assert service.consumer.trouble() is None
        go_on.set()
        await eventually(lambda: behind(service), lambda records: records == 0)
    assert service.consumer.trouble() == "consumer: not running"
