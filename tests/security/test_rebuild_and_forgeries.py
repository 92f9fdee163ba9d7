"""A rebuild reads the topics again, and takes nothing that no service of ours, and no person, has proven."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from bench.histories import PROOFS, RUN, SIGNERS, Wire, history, signed
from local.broker import EmbeddedBroker
from local.commands import CommandRecord, Commands
from services.restorers import REBUILDABLE, restorer
from shared.clock import utc_now
from shared.contracts.catalogue import MESSAGES
from shared.contracts.envelope import seal, to_body, to_headers
from shared.contracts.header_names import is_text
from shared.contracts.releases import PublishRelease
from shared.contracts.topics import RELEASE_COMMANDS, VERSION_MAP_COMMANDS
from shared.contracts.values import Actor
from shared.contracts.version_maps import HoldVersionMap
from shared.identity import proofs as services
from shared.identity.keys import SigningKey
from shared.identity.proofs import HEADER, Signer, writers
from shared.identity.tokens import NOBODY, TokenVerifier
from shared.messaging.partitions import partition_of
from shared.messaging.people import People
from shared.messaging.topic_admin import create_topics
from shared.replay.commands import read_commands
from shared.replay.evidence import Evidence
from shared.replay.rebuild import Digest, Rebuilt, digests, rebuild
from shared.replay.told import Told
from shared.settings import KafkaSettings
from tests.conftest import NewDatabase
from tests.support.keys import VERIFIER, token

KEY = b"acme-portal"
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
    people, evidence = People(tokens, broker_dates=False), Evidence(services.NOBODY)
    reading = read_commands(settings, [RELEASE_COMMANDS], people, evidence)
    found = [told async for some in reading for told in some]
    assert evidence.count == len(_GARBAGE) + 4 - len(found)
    return found


# --- events and services' commands ---------------------------------------------------------------

Forged = tuple[str, bytes | None, list[tuple[str, bytes | None]], bytes]
"""Topic, body, headers and key."""


def _forgeries(service: str, wires: list[Wire]) -> Iterator[tuple[str, Forged]]:
    """What somebody who may write to the topics puts there, each to change what is rebuilt."""
    topic, body, headers = wires[-1]
    key = b"acme-portal"
    plain: list[tuple[str, bytes | None]] = [pair for pair in headers if pair[0] != HEADER]
    proof = next(pair for pair in headers if pair[0] == HEADER)
    later = re.sub(rb'"revision":\d+', b'"revision":900', body)
    other = re.sub(rb"acme-portal", b"acme-stolen", body)

    def by(signer: Signer, said: bytes, own: Any = plain) -> list[tuple[str, bytes | None]]:
        return list(signer.signed(topic, said, own))

    yield "unsigned", (topic, later, plain, key)
    yield "unsigned, of a new Project", (topic, other, plain, b"acme-stolen")
    yield "the proof of another", (topic, later, [*plain, proof], key)
    yield "a key of nobody", (topic, later, by(Signer(service, SigningKey.new(service)), later), key)
    yield "no proof in its header", (topic, later, [*plain, (HEADER, b"")], key)
    for broken in (b":::", b"%s:AAAA" % service.encode(), proof[1] + b"A" * 44, b"\xff"):
        yield "a broken proof", (topic, later, [*plain, (HEADER, broken)], key)
    named = {**dict(plain), "ce_causationid": b"stolen", "ce_causationsource": b"/http/mira"}
    named["ce_causationdigest"] = b"0" * 64
    yield "a cause that was never handled", (topic, body, [*named.items()], key)
    yield "the same, with the proof", (topic, body, [*named.items(), proof], key)
    joined = [(n, v) for n, v in plain if n not in ("ce_subject", "ce_time")]
    both = dict(plain)
    glued = b"\0".join((both["ce_subject"] or b"", b"ce_time", both["ce_time"] or b""))
    yield "two headers glued to one", (topic, body, [*joined, ("ce_subject", glued), proof], key)
    yield "proven, in another partition", (topic, body, list(headers), b"acme-portal-b")
    yield "no body", (topic, None, list(headers), key)
    yield "garbage", (topic, b"\0", [], key)
    yield "a header name that is not text", (topic, later, [*plain, ("ce_\udcff", b"1")], key)
    for another in SIGNERS.values():
        if another.principal != service:
            elsewhere = {**dict(plain), "ce_source": b"/upgrades/" + another.principal.encode()}
            yield "another service", (topic, later, by(another, later, [*elsewhere.items()]), key)
    person = PublishRelease(actor=LENA, system="auth-system", version="6.6.6", package="0" * 64)
    asked = Commands("/library", token).record(person, "forged")
    yield "a person's command", (topic, asked.body, list(asked.headers), key)
    hold = HoldVersionMap(
        actor=Actor(id="sam", role="sre"), project="acme-portal", run_id=RUN, fence=10**9, expected_pins={}
    )
    sealed = to_headers(seal(hold, source="/upgrades/planner", now=utc_now()))
    for extra in ([], [(HEADER, b"planner:AAAA")]):
        yield "a fence of nobody", (VERSION_MAP_COMMANDS.name, to_body(hold), [*sealed, *extra], key)


@pytest.mark.parametrize("service", REBUILDABLE)
async def test_what_nobody_proves_does_not_change_what_is_rebuilt(
    service: str, new_database: NewDatabase
) -> None:
    """Else whoever may write one record pins versions, ends Runs and hides releases for everybody."""
    wires = signed(service, await history(service))
    forged = [*_forgeries(service, wires)]
    assert len(forged) > 20
    async with EmbeddedBroker() as broker:
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers, embedded=True)
        await create_topics(settings)
        await _put_events(settings, [(topic, body, [*headers], KEY) for topic, body, headers in wires[:-1]])
        await _put_events(settings, [one for _, one in forged])
        await _put_events(settings, [(topic, body, [*headers], KEY) for topic, body, headers in wires[-1:]])
        dirty, among = await _rebuilt(settings, service, await new_database())
    async with EmbeddedBroker() as broker:
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers, embedded=True)
        await create_topics(settings)
        await _put_events(settings, [(topic, body, [*headers], KEY) for topic, body, headers in wires])
        clean, alone = await _rebuilt(settings, service, await new_database())
    assert dirty == clean
    assert (among.events, among.inbox, among.copied) == (alone.events, alone.inbox, alone.copied)
    fences = sum(topic == VERSION_MAP_COMMANDS.name for _, (topic, _, _, _) in forged)
    expected = len(forged) if service == "registry" else len(forged) - fences
    assert (among.passed_over, alone.passed_over) == (expected, 0)
    assert len(among.listed) == expected
    assert all(one.reason for one in among.listed)


async def test_events_of_before_they_were_signed_are_believed_when_that_is_said(
    new_database: NewDatabase,
) -> None:
    """The embedded broker dates nothing itself, so there nobody's date counts."""
    wires = await history("notifier")
    topic, body, headers = wires[0]
    record = _Record(body, headers, timestamp=1_000, timestamp_type=1)
    at = TopicPartition(topic, partition_of(KEY, 4))
    moment = datetime.fromtimestamp(2, UTC)
    assert Evidence(PROOFS, moment).told(at, 4, record) is not None
    assert Evidence(PROOFS).told(at, 4, record) is None
    for late in (replace(record, timestamp=2_000), replace(record, timestamp_type=0)):
        assert Evidence(PROOFS, moment).told(at, 4, late) is None
    with_a_proof = replace(record, headers=[*headers, (HEADER, b"notifier:AAAA:")])
    assert Evidence(PROOFS, moment).told(at, 4, with_a_proof) is None
    of_another = replace(record, headers=[*({**dict(headers), "ce_source": b"/upgrades/planner"}).items()])
    assert Evidence(PROOFS, moment).told(at, 4, of_another) is None


def test_every_message_on_a_topic_that_is_rebuilt_is_proven_by_its_writer() -> None:
    """A new kind of event that nobody signs would be passed over, and lost."""
    topics = {topic for service in REBUILDABLE for topic in restorer(service, "memory:///").writes}
    unsigned = [
        message.__name__
        for message in MESSAGES
        if getattr(message, "topic", None) in topics
        and not writers(message.topic.name, {"ce_type": message.type_name()})
    ]
    assert unsigned == []


@dataclass(frozen=True)
class _Record:
    """As aiokafka's parser gives it."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp: int
    timestamp_type: int
    offset: int = 0


async def _put_events(settings: KafkaSettings, records: list[Forged]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for topic, body, headers, key in records:
            # No client sends such a name; one that does it by hand is no harder to write.
            sent = [(name, value) for name, value in headers if is_text(name)]
            await producer.send_and_wait(topic, body, key, headers=sent)


async def _rebuilt(settings: KafkaSettings, service: str, url: str) -> tuple[dict[str, Digest], Rebuilt]:
    restoring = restorer(service, "memory:///")
    done = await rebuild(settings, restoring, url, Evidence(PROOFS), VERIFIER)
    return await digests(url, restoring.parts), done
