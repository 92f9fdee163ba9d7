"""A rebuild reads people's commands again, and takes none that their handler had refused."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer

from local.broker import EmbeddedBroker
from local.commands import CommandRecord, Commands
from shared.contracts.releases import PublishRelease
from shared.contracts.topics import RELEASE_COMMANDS
from shared.contracts.values import Actor
from shared.identity.tokens import NOBODY, TokenVerifier
from shared.messaging.people import People
from shared.messaging.topic_admin import create_topics
from shared.replay.commands import read_commands
from shared.replay.told import Told
from shared.settings import KafkaSettings
from tests.support.keys import VERIFIER, token

LENA = Actor(id="lena@library.example", role="library")
_GARBAGE: tuple[tuple[bytes | None, list[tuple[str, bytes]]], ...] = (
    (b"\x00", []),
    (None, [("ce_id", b"1")]),
    (b"{}", [("ce_type", b"\xff")]),
)


async def test_only_proven_commands_are_checked_again_after_a_rebuild() -> None:
    """A package that somebody had put there without a token would be published by the rebuilt registry."""
    good = Commands("/library", token).record(_publish("1.0.0"), "good")
    forged = Commands("/library", lambda actor: "forged").record(_publish("6.6.6"), "forged")
    async with EmbeddedBroker() as broker:
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers, embedded=True)
        await create_topics(settings)
        await _put(settings, forged, good)
        [found] = await _read(settings, VERIFIER)
        assert (found.id, found.source) == ("good", "/topic/lena@library.example//library")
        assert found.body == good.body
        assert await _read(settings, NOBODY) == []


def _publish(version: str) -> PublishRelease:
    return PublishRelease(actor=LENA, system="auth-system", version=version, package="0" * 64)


async def _put(settings: KafkaSettings, *commands: CommandRecord) -> None:
    """These, without their token once more, and records that no rebuild may stumble over."""
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for body, headers in _GARBAGE:
            await producer.send_and_wait(RELEASE_COMMANDS.name, body, b"auth-system", headers=headers)
        for one in commands:
            bare = [(name, value) for name, value in one.headers if name != "ce_authorization"]
            for headers in (bare, [*one.headers]):
                await producer.send_and_wait(one.topic, one.body, one.key, headers=headers)


async def _read(settings: KafkaSettings, tokens: TokenVerifier) -> list[Told]:
    people = People(tokens, broker_dates=False)
    return [told async for some in read_commands(settings, [RELEASE_COMMANDS], people) for told in some]
