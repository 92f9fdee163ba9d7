"""`topics dead` and `replay redrive` at a real broker: what is shown, what is chosen, what is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import Result

from local.broker import EmbeddedBroker
from local.ports import free_port
from shared.clock import utc_now
from shared.contracts.header_names import without_tokens
from shared.contracts.topics import PROJECT_COMMANDS, RELEASE_COMMANDS, RELEASE_EVENTS, Topic, dead_letters
from shared.messaging.record import Record
from shared.messaging.topic_admin import create_topics
from shared.messaging.topic_reader import read_topic
from shared.settings import KafkaSettings
from tests.brokers.tiny_service import publish, wire
from tests.cli.conftest import Type

BOOTSTRAP = "UPGRADES_KAFKA_BOOTSTRAP_SERVERS"
BUG = "RuntimeError: a bug that will be mended\nin line 7"
SYSTEMS = ("auth-system", "quote-engine")
NO_ANSWER, NOT_FOUND = 3, 4


class Broker:
    """One with two letters of the registry's that had a bug, and one of no type at all on another topic."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.settings = KafkaSettings(bootstrap_servers=bootstrap_servers, embedded=True)
        self.bugs = [wire(publish(system, 1), system) for system in SYSTEMS]

    async def bury(self) -> None:
        await create_topics(self.settings)
        async with AIOKafkaProducer(bootstrap_servers=self.settings.bootstrap_servers) as producer:
            for offset, (key, body, headers) in enumerate(self.bugs):
                about = self._about(RELEASE_COMMANDS, 2, offset, BUG)
                await producer.send_and_wait(
                    dead_letters("registry").name, body, key=key, headers=[*headers, *about]
                )
            about = self._about(PROJECT_COMMANDS, 0, 7, "not JSON")
            await producer.send_and_wait(dead_letters("registry").name, b"{", key=None, headers=about)

    def _about(self, topic: Topic, partition: int, offset: int, reason: str) -> list[tuple[str, bytes]]:
        about = {"topic": topic.name, "partition": partition, "offset": offset, "reason": reason}
        return [(f"dead_{name}", str(value).encode()) for name, value in about.items()]

    def bury_forged(self, topic: Topic) -> None:
        """A letter of the registry's that says that it came from there."""

        async def send() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.settings.bootstrap_servers) as producer:
                about = self._about(topic, 0, 7, "forged")
                await producer.send_and_wait(dead_letters("registry").name, b"{}", key=b"k", headers=about)

        asyncio.run(send())

    def on(self, topic: Topic) -> list[Record]:
        async def read() -> list[Record]:
            return [record async for record in read_topic(self.settings, topic)]

        return asyncio.run(read())


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with EmbeddedBroker() as running:
        made = Broker(running.bootstrap_servers)
        await made.bury()
        yield made


@pytest.fixture
def sre(upgradepath: Type, broker: Broker) -> Type:
    """Type a command with that broker."""

    def invoke(*words: str, typed: str | None = None) -> Result:
        return upgradepath(*words, typed=typed, **{BOOTSTRAP: broker.settings.bootstrap_servers})

    return invoke


def letters(said: Result) -> list[dict[str, Any]]:
    assert said.exit_code == 0, said.output
    document = json.loads(said.stdout)
    found: list[dict[str, Any]] = document if isinstance(document, list) else document["letters"]
    return found


def test_dead_letters_are_shown_by_service_type_and_reason(sre: Type) -> None:
    lines = [line.split("\t") for line in sre("topics", "dead").stdout.splitlines()[1:]]
    assert {(line[0], line[1], line[2], line[3], line[4]) for line in lines} == {
        ("registry", "upgrades.PublishRelease.v1", "RuntimeError: a bug that will be mended", "2", "0"),
        ("registry", "unknown", "not JSON", "1", "0"),
    }
    assert "there are no dead letters" in sre("topics", "dead", "--service", "planner").output
    assert len(letters(sre("topics", "dead", "--service", "registry", "--json"))) == 3


def test_one_letter_is_shown_whole(sre: Type) -> None:
    first = next(one for one in letters(sre("topics", "dead", "--json")) if one["reason"] == BUG)
    assert (first["topic"], first["partition"]) == (RELEASE_COMMANDS.name, 2)
    plain = sre("topics", "dead", "--show", first["letter"]).stdout
    assert "RuntimeError: a bug that will be mended" in plain
    assert "ce_id: " in plain
    assert json.loads(sre("topics", "dead", "--show", first["letter"], "--json").stdout) == first
    unknown = sre("topics", "dead", "--show", "000000000000")
    assert unknown.exit_code == NOT_FOUND
    assert "upgradepath topics dead" in unknown.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("topics", "dead", "--service", "librarian"),
        ("replay", "redrive", "librarian"),
        ("replay", "redrive", "registry", "--since", "yesterday"),
        ("replay", "redrive", "registry", "--rate", "0"),
        ("replay", "redrive", "registry", "--json"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_sends_nothing(sre: Type, broker: Broker, words: Any) -> None:
    assert sre(*words).exit_code == 2
    assert broker.on(RELEASE_COMMANDS) == []


def test_a_broker_that_is_away_is_said(upgradepath: Type) -> None:
    away = {BOOTSTRAP: f"127.0.0.1:{free_port()}"}
    assert upgradepath("topics", "dead", **away).exit_code == NO_ANSWER
    assert upgradepath("replay", "redrive", "registry", "--yes", **away).exit_code == NO_ANSWER


@pytest.mark.parametrize(
    ("words", "reasons"),
    [
        ((), [BUG, BUG, "not JSON"]),
        (("--reason", "A BUG"), [BUG, BUG]),
        (("--type", "publishrelease"), [BUG, BUG]),
        (("--type", "unknown"), ["not JSON"]),
        (("--reason", "a bug", "--type", "unknown"), []),
        (("--since", "1h"), [BUG, BUG, "not JSON"]),
        (("--since", (utc_now() + timedelta(hours=1)).isoformat()), []),
    ],
)
def test_a_dry_run_says_what_would_be_sent(
    sre: Type, broker: Broker, words: tuple[str, ...], reasons: list[str]
) -> None:
    said = sre("replay", "redrive", "registry", *words, "--dry-run", "--json")
    assert sorted(letter["reason"] for letter in letters(said)) == sorted(reasons)
    assert json.loads(said.stdout)["sent"] is False
    assert broker.on(RELEASE_COMMANDS) == broker.on(PROJECT_COMMANDS) == []


def test_whoever_says_no_sends_nothing(sre: Type, broker: Broker) -> None:
    assert sre("replay", "redrive", "registry", typed="n\n").exit_code != 0
    assert broker.on(RELEASE_COMMANDS) == []


def test_what_is_sent_again_is_what_it_was_and_goes_once(sre: Type, broker: Broker) -> None:
    sent = sre("replay", "redrive", "registry", "--reason", "a bug", "--yes", "--json")
    assert json.loads(sent.stdout)["sent"] is True
    there = broker.on(RELEASE_COMMANDS)
    assert [(one.partition, one.key, one.value, tuple(one.headers)) for one in there] == [
        (2, key, body, tuple(without_tokens(headers))) for key, body, headers in broker.bugs
    ]
    assert broker.on(PROJECT_COMMANDS) == []
    marked = {
        one["reason"]: one["redriven_by"] is not None for one in letters(sre("topics", "dead", "--json"))
    }
    assert marked == {BUG: True, "not JSON": False}

    again = sre("replay", "redrive", "registry", "--reason", "a bug", "--yes")
    assert "no dead letter is to be sent again" in again.output
    assert "2 were sent again before" in again.stderr
    assert len(broker.on(RELEASE_COMMANDS)) == 2
    assert sre("replay", "redrive", "registry", "--type", "Publish", "--again", "--yes").exit_code == 0
    assert len(broker.on(RELEASE_COMMANDS)) == 4
    ids = [dict(one.headers)["ce_id"] for one in broker.on(RELEASE_COMMANDS)]
    assert ids[:2] == ids[2:], "whoever has handled them knows them again"


def test_no_more_are_sent_in_a_second_than_is_said(sre: Type, broker: Broker) -> None:
    said = sre("replay", "redrive", "registry", "--type", "Publish", "--rate", "4", "--yes")
    assert said.exit_code == 0, said.output
    first, second = (one.timestamp for one in broker.on(RELEASE_COMMANDS))
    assert second - first >= 240


def test_a_letter_that_names_a_topic_of_others_is_sent_nowhere(sre: Type, broker: Broker) -> None:
    """A service that is taken over writes its own dead letters: an SRE must not forge events for it."""
    broker.bury_forged(RELEASE_EVENTS)
    said = sre("replay", "redrive", "registry", "--reason", "forged", "--yes")
    assert said.exit_code == 0
    assert f"name topics that registry does not read ({RELEASE_EVENTS.name})" in said.stderr
    assert broker.on(RELEASE_EVENTS) == []
