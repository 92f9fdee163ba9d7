"""A notifier's database is lost while a Release is being told: rebuilt, it tells whoever was not told yet."""

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from local.broker import EmbeddedBroker
from services.restorers import restorer
from shared.contracts.envelope import seal, to_body, to_headers
from shared.contracts.topics import PROJECT_EVENTS, RELEASE_EVENTS, VERSION_MAP_EVENTS
from shared.contracts.values import Message
from shared.messaging.topic_admin import create_topics
from shared.replay.evidence import Evidence
from shared.replay.rebuild import rebuild
from shared.settings import KafkaSettings
from shared.storage.messages import Outgoing
from shared.storage.migrations import migrate_async
from tests.conftest import NewDatabase
from tests.notifier.notifier_world import NOON, Few, published, recorded, running
from tests.support.proofs import PROOFS, signed, signer

PROJECTS = tuple(f"portal-{number}" for number in range(7))
READ = (RELEASE_EVENTS, PROJECT_EVENTS, VERSION_MAP_EVENTS)


def wire(message: Message) -> Outgoing:
    """As the registry sends it."""
    envelope = seal(message, source="/upgrades/registry", now=NOON)
    body = to_body(message)
    headers = signed("registry", message.topic, body, to_headers(envelope))
    return message.topic.name, message.key().encode(), body, headers


def told(before: list[Outgoing]) -> list[Outgoing]:
    """As the notifier's relay sends them: together."""
    headers = signer("notifier").all_signed([(topic, body, own) for topic, _, body, own in before])
    return [(*one[:3], own) for one, own in zip(before, headers, strict=True)]


async def sent(settings: KafkaSettings, wires: list[Outgoing]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for topic, key, body, headers in wires:
            await producer.send_and_wait(topic, body, key, headers=list(headers))


async def all_read(settings: KafkaSettings) -> None:
    """The notifier's groups stand at the end of what it reads."""
    for topic in READ:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            group_id=topic.group("notifier"),
            enable_auto_commit=False,
        )
        async with consumer:
            places = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
            consumer.assign(places)
            # Read, as this broker names the beginning of the last batch for the end of a partition.
            await consumer.seek_to_beginning()
            while any(consumer.last_stable_offset(place) is None for place in places):
                await consumer.getmany(timeout_ms=100)
            await consumer.commit({place: consumer.last_stable_offset(place) for place in places})


async def test_who_was_not_told_before_the_loss_is_told_after_it(new_database: NewDatabase) -> None:
    maps = [recorded(1, project, auth="1.1.0") for project in PROJECTS]
    release = published("1.2.0")
    lost, target = await new_database(), await new_database()
    await migrate_async("notifier", lost)
    async with EmbeddedBroker() as broker:
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers, embedded=True)
        await create_topics(settings)
        async with running(lost, Few) as notifier:
            await notifier.hear(*maps, release)
            before = await notifier.outbox()
        assert len(before) == Few.share
        await sent(settings, [*map(wire, maps), wire(release), *told(before)])
        await all_read(settings)
        await rebuild(settings, restorer("notifier", "memory:///"), target, Evidence(PROOFS))
    async with running(target, Few, emptied=False) as notifier:
        await notifier.hear(*maps, release)
        assert await notifier.outbox() == [], "all of it was handled"
        await notifier.tell_rest()
        rest = await notifier.outbox()
        assert await notifier.tell_rest() == 0
    assert sorted(key or b"" for _, key, _, _ in [*before, *rest]) == [one.encode() for one in PROJECTS]
    causes = {dict(headers)["ce_causationid"] for _, _, _, headers in [*before, *rest]}
    traces = {dict(headers)["ce_traceparent"] for _, _, _, headers in [*before, *rest]}
    assert (len(causes), len(traces)) == (1, 1)
