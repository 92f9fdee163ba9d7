"""An event may lie on its topic twice, as after a crash of its sender: a rebuild counts it once."""

from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer

from bench.histories import PROOFS, Wire, history, signed
from local.broker import EmbeddedBroker
from services.restorers import REBUILDABLE, restorer
from shared.messaging.topic_admin import create_topics
from shared.replay import bulk
from shared.replay.evidence import Evidence
from shared.replay.rebuild import Digest, digests, rebuild
from shared.settings import KafkaSettings
from tests.conftest import NewDatabase


async def sent(settings: KafkaSettings, wires: Sequence[Wire]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for topic, body, headers in wires:
            await producer.send_and_wait(topic, body, b"acme-portal", headers=headers)


async def rebuilt(settings: KafkaSettings, service: str, url: str) -> tuple[dict[str, Digest], int, int]:
    restoring = restorer(service, "memory:///")
    done = await rebuild(settings, restoring, url, Evidence(PROOFS))
    return await digests(url, restoring.parts), done.inbox, done.events


@pytest.mark.parametrize("held_bytes", [bulk.HELD_BYTES_MAX, 0], ids=["at-the-end", "as-it-comes"])
@pytest.mark.parametrize("service", REBUILDABLE)
async def test_what_comes_twice_counts_once(
    service: str, held_bytes: int, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often what is held was written in between."""
    monkeypatch.setattr(bulk, "HELD_BYTES_MAX", held_bytes)
    wires = signed(service, await history(service))
    async with EmbeddedBroker() as broker:
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers, embedded=True)
        await create_topics(settings)
        await sent(settings, wires)
        once, inbox, events = await rebuilt(settings, service, await new_database())
        # The last ones again, then all: what is old comes after what is new.
        await sent(settings, [*wires[len(wires) // 2 :], *wires])
        twice, inbox_again, events_again = await rebuilt(settings, service, await new_database())
    assert events == len(wires)
    assert events_again > 2 * events
    assert (twice, inbox_again) == (once, inbox)
    assert any(part.rows > 0 for part in once.values())
