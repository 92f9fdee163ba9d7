"""A system's topics from outside: what is on them, and records put there as the outside world does."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer

from local.commands import Commands
from shared.contracts.envelope import Received, Unreadable, receive
from shared.contracts.topics import TOPICS, Topic
from shared.contracts.values import Command
from shared.messaging.record import Record
from shared.messaging.topic_reader import describe, read_topic
from tests.support.system import System


async def records(system: System, topic: Topic, key: str | None = None) -> list[Record]:
    """What is on the topic, of one key if one is named."""
    wanted = None if key is None else key.encode()
    return [
        record async for record in read_topic(system.kafka, topic) if wanted is None or record.key == wanted
    ]


async def messages(system: System, topic: Topic, key: str) -> list[Received]:
    """The messages of one key, in their order; what cannot be read is left out."""
    found = []
    for record in await records(system, topic, key):
        try:
            found.append(receive(record.headers, record.value))
        except Unreadable:
            continue
    return found


async def send(system: System, command: Command) -> str:
    """Put a command on its topic with its actor's token; its id, by which the answers name their cause."""
    record = Commands("/journeys", system.token).record(command)
    await send_raw(system, command.topic, command.key(), record.body, record.headers)
    return record.id


async def send_raw(
    system: System, topic: Topic, key: str, body: bytes | None, headers: tuple[tuple[str, bytes], ...]
) -> None:
    """Put any record on a topic."""
    producer = AIOKafkaProducer(
        bootstrap_servers=system.kafka.bootstrap_servers, enable_idempotence=not system.kafka.embedded
    )
    async with producer:
        await producer.send_and_wait(topic.name, body, key.encode(), headers=list(headers))


async def answer_to(system: System, topic: Topic, key: str, command_id: str) -> Received:
    """The first message that the command has caused, once it is there."""
    async for record in read_topic(system.kafka, topic, follow=True):
        if record.key != key.encode():
            continue
        try:
            received = receive(record.headers, record.value)
        except Unreadable:
            continue
        if received.envelope.causation_id == command_id:
            return received
    raise AssertionError("a topic that is followed has no end")


async def all_text(system: System) -> str:
    """Everything that was ever on any topic, as text."""
    return "\n".join([str(describe(record)) for topic in TOPICS for record in await records(system, topic)])
