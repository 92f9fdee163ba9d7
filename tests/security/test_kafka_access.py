"""Kafka's own authorizer holds each principal to what the documents say, and lets nobody else in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAuthorizationFailedError, for_code

from services.access import default_principal, roles, rules
from shared.contracts.topics import (
    DEAD_LETTERS,
    RELEASE_COMMANDS,
    RELEASE_EVENTS,
    RUN_EVENTS,
    SERVICES,
    TOPICS,
)
from shared.messaging.access_lists import Rule, apply_rules, compare_rules
from shared.messaging.client_arguments import client_arguments
from shared.messaging.connection_faults import broker_fault
from shared.messaging.publisher import publishing
from shared.messaging.topic_admin import create_topics, partition_counts
from shared.settings import KafkaSettings
from tests.support.authority import Authority
from tests.support.broker_rights import DENIED, rights
from tests.support.secured_kafka import ADMIN, SecuredKafka

DOCS = Path(__file__).parents[2] / "docs"
NAMES = [topic.name for topic in TOPICS]
Rights = dict[str, set[str]]


def user_of(role: str) -> str:
    return default_principal(role).removeprefix("User:")


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """Per participant of the checked-in AsyncAPI document: what it reads and writes."""
    document = yaml.safe_load((DOCS / "contracts" / "asyncapi.yaml").read_text())
    found: dict[str, tuple[set[str], set[str]]] = {}
    for name, operation in document["operations"].items():
        who = name.partition(".")[0]
        if who.endswith("-pool"):
            continue  # how the workers of any pool stand is asked by the name of one, in the tests of pools
        channel = operation["channel"]["$ref"].rpartition("/")[2]
        reads, writes = found.setdefault(who, (set(), set()))
        address = document["channels"][channel]["address"]
        if "{" not in address:
            (reads if operation["action"] == "receive" else writes).add(address)
    return found


def in_the_page(cell: str, service: str) -> Iterator[str]:
    """The topics that a cell of the architecture page's table names in words."""
    nouns: list[str] = []
    for word in re.findall(r"[a-z-]+", cell.replace("its stage commands", f"{service} commands")):
        if word in {"commands", "events", "results"}:
            for noun in nouns:
                workers = ("executor", "validator") if (noun, word) == ("stage", "commands") else (noun,)
                yield from (f"upgrades.{one}.{word}.v1" for one in workers)
            nouns = []
        elif word != "and":
            nouns.append(word)


def test_documents_and_rules_say_the_same() -> None:
    """What would be written to the broker is what people read, word for word."""
    page = (DOCS / "architecture.md").read_text()
    rows = {line.split("|")[1].strip(): line.split("|") for line in page.splitlines() if line.count("|") == 5}
    assert set(documented()) == {*SERVICES, "outside"}
    for who, (reads, writes) in documented().items():
        mine = [one for one in rules() if one.principal == default_principal(who) and one.resource == "topic"]
        assert {one.name for one in mine if one.operation == "read"} == reads
        assert {one.name for one in mine if one.operation == "write"} == writes
        assert {one.operation for one in mine} == {"read", "write"}
        assert {one.pattern for one in mine} == {"literal"}
        if who in SERVICES:
            assert set(in_the_page(rows[who][2], who)) == reads
            assert {*in_the_page(rows[who][3], who), f"upgrades.{who}.dead.v1"} == writes


@pytest.mark.parametrize("who", [*SERVICES, "outside"])
async def test_each_principal_reads_and_writes_what_is_documented_and_nothing_else(
    secured_kafka: SecuredKafka, who: str
) -> None:
    """A service that is taken over must not write as another; every topic is tried, both ways."""
    assert await rights(secured_kafka.settings(user_of(who)), NAMES) == documented()[who]


async def test_an_sre_looks_at_everything_and_writes_what_dead_letters_need(
    secured_kafka: SecuredKafka,
) -> None:
    reads, writes = await rights(secured_kafka.settings(user_of("sre")), NAMES)
    read_by_services = {name for who in SERVICES for name in documented()[who][0]}
    assert reads == set(NAMES)
    assert writes == read_by_services | {topic.name for topic in DEAD_LETTERS}


@pytest.mark.parametrize("who", [*SERVICES, "outside"])
async def test_nobody_joins_anothers_group(secured_kafka: SecuredKafka, who: str) -> None:
    """In another's group one would take its partitions from it, and move its place."""
    client = AIOKafkaAdminClient(**client_arguments(secured_kafka.settings(user_of(who))))
    await client.start()
    try:
        for other in (one for one in SERVICES if one != who):
            for name in documented()[other][0]:
                group = next(topic for topic in TOPICS if topic.name == name).group(other)
                with pytest.raises(KafkaError, match="Authorization"):
                    await client.find_coordinator(group)
    finally:
        await client.close()


async def test_a_client_of_ours_says_that_it_may_not(secured_kafka: SecuredKafka) -> None:
    settings = secured_kafka.settings(user_of("validator"))
    message = (RELEASE_EVENTS.name, b"k", b"{}", ())
    async with publishing(settings) as publisher:
        with pytest.raises(TopicAuthorizationFailedError):
            await publisher.publish([message])
    assert await partition_counts(settings, NAMES) == dict.fromkeys(
        documented()["validator"][0] | documented()["validator"][1], 4
    )
    with pytest.raises(KafkaError):
        await apply_rules(settings, rules())
    with pytest.raises(KafkaError):
        await apply_rules(secured_kafka.settings(user_of("sre")), rules())


REFUSED = [
    ({"sasl_password": "wrong"}, "does not let upgrades-planner in by SCRAM-SHA-512"),
    ({"sasl_username": "nobody"}, "does not let nobody in"),
    (
        {"sasl_mechanism": "PLAIN", "sasl_password": "wrong"},
        "in by PLAIN: check UPGRADES_KAFKA_SASL_",
    ),
    ({"ssl_cafile": None}, "UPGRADES_KAFKA_SSL_CAFILE must hold its authority"),
    (
        {"security_protocol": "SASL_PLAINTEXT", "ssl_cafile": None},
        "set UPGRADES_KAFKA_SECURITY_PROTOCOL=SASL_SSL",
    ),
    (
        {
            "security_protocol": "PLAINTEXT",
            "ssl_cafile": None,
            "sasl_mechanism": None,
            "sasl_username": None,
            "sasl_password": None,
        },
        "set UPGRADES_KAFKA_SECURITY_PROTOCOL=SASL_SSL",
    ),
    (
        {"security_protocol": "SSL", "sasl_mechanism": None, "sasl_username": None, "sasl_password": None},
        "check UPGRADES_KAFKA_SECURITY_PROTOCOL",
    ),
]


@pytest.mark.parametrize(("others", "words"), REFUSED, ids=lambda value: str(value)[:50])
async def test_who_does_not_prove_itself_is_told_what_to_mend(
    secured_kafka: SecuredKafka, others: dict[str, Any], words: str
) -> None:
    settings = secured_kafka.settings("upgrades-planner", **others)
    said = await broker_fault(settings)
    assert words in str(said)
    assert secured_kafka.password("upgrades-planner") not in str(said)


async def test_another_authority_is_not_believed_and_another_name_neither(
    secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    other = Authority.new().write(tmp_path, "other").ca
    settings = secured_kafka.settings("upgrades-planner", ssl_cafile=other)
    assert "not proven" in str(await broker_fault(settings))
    with pytest.raises(KafkaConnectionError):
        await partition_counts(settings, NAMES)
    by_name = secured_kafka.settings("upgrades-planner", bootstrap_servers=f"localhost:{secured_kafka.port}")
    assert "not valid for" in str(await broker_fault(by_name))


async def test_a_client_certificate_is_a_principal(secured_kafka: SecuredKafka, tmp_path: Path) -> None:
    mine = secured_kafka.certificate("registry")
    asked: dict[str, Any] = {
        "bootstrap_servers": f"127.0.0.1:{secured_kafka.certificates_port}",
        "security_protocol": "SSL",
        "ssl_cafile": secured_kafka.ca,
    }
    mutual = KafkaSettings(**asked, ssl_certfile=mine.certificate, ssl_keyfile=mine.key)
    nothing: tuple[set[str], set[str]] = (set(), set())
    assert await rights(mutual, NAMES) == nothing
    named = rules(principals={"registry": ["User:CN=registry"]})
    await apply_rules(secured_kafka.settings(ADMIN), [one for one in named if "CN=" in one.principal])
    assert await rights(mutual, NAMES) == documented()["registry"]
    assert "UPGRADES_KAFKA_SSL_CERTFILE" in str(await broker_fault(KafkaSettings(**asked)))
    stranger = Authority.new().write(tmp_path, "registry")
    forged = KafkaSettings(**asked, ssl_certfile=stranger.certificate, ssl_keyfile=stranger.key)
    assert "UPGRADES_KAFKA_SSL_CERTFILE" in str(await broker_fault(forged))


async def test_rules_are_written_once_and_stale_ones_of_ours_go(secured_kafka: SecuredKafka) -> None:
    admin = secured_kafka.settings(ADMIN)
    stale = Rule(default_principal("validator"), "topic", RUN_EVENTS.name, "literal", "write")
    wide = Rule(default_principal("validator"), "topic", "other.", "prefixed", "read")
    await apply_rules(admin, [*rules(), stale, wide])
    states = {
        state.rule: state.state for state in await compare_rules(admin, rules()) if state.state != "was there"
    }
    assert states == {
        "User:upgrades-validator: write topic upgrades.run.events.v1": "stale",
        "User:upgrades-validator: read topic other.*": "foreign",
    }
    assert {state.state for state in await apply_rules(admin, rules())} == {"was there", "removed", "foreign"}
    assert {state.state for state in await apply_rules(admin, rules())} == {"was there", "foreign"}
    assert await rights(secured_kafka.settings(user_of("validator")), NAMES) == documented()["validator"]


async def test_an_sre_makes_topics_without_being_the_cluster(secured_kafka: SecuredKafka) -> None:
    states = await create_topics(secured_kafka.settings(user_of("sre")))
    assert {state.state for state in states} == {"was there"}
    assert set(roles()) == {*SERVICES, "outside", "sre"}
    assert RELEASE_COMMANDS.name in NAMES
    assert for_code(DENIED) is TopicAuthorizationFailedError
