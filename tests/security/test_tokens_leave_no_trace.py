"""A token that came with a command is found nowhere afterwards but in the record on the command topic."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from local.commands import Commands
from local.world import ACTORS
from shared.clients.database_urls import with_database
from shared.contracts.freezes import FreezeDeploys, ThawDeploys
from shared.contracts.refusals import CommandRefused
from shared.contracts.releases import PublishRelease, WithdrawRelease
from shared.contracts.runs import RequestPlan
from shared.contracts.topics import (
    RELEASE_COMMANDS,
    RUN_COMMANDS,
    RUN_EVENTS,
    SERVICES,
    TOPICS,
    Topic,
    dead_letters,
)
from shared.contracts.values import Command
from shared.messaging.topic_reader import dump_topics
from tests.brokers.place import eventually
from tests.support.people import Person
from tests.support.system import Embedded
from tests.support.topics import answer_to, records, send_raw

LIBRARY, MIRA, SAM = ACTORS["library"], ACTORS["maintainer"], ACTORS["sre"]
_TABLES = (
    "select table_schema || '.\"' || table_name || '\"' from information_schema.tables"
    " where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')"
)


@pytest.fixture(scope="module")
async def dev() -> AsyncIterator[Embedded]:
    with TemporaryDirectory(prefix="upgradepath-leak-") as folder:
        system = Embedded(Path(folder))
        await system.start()
        try:
            yield system
        finally:
            await system.stop()


async def test_a_token_is_found_nowhere_afterwards(dev: Embedded, tmp_path: Path) -> None:
    """Done, refused, stolen or unreadable: in no table, event, dead letter, dump, log or answer."""
    people = Commands("/leak", dev.token)
    sent: list[Command] = [
        FreezeDeploys(actor=SAM, reason="looked for"),
        ThawDeploys(actor=SAM, reason="looked for"),
        RequestPlan(actor=MIRA, project="acme-portal", systems={"auth-system": None}),
        PublishRelease(actor=LIBRARY, system="auth-system", version="1.0.0", package="0" * 64),
        WithdrawRelease(actor=LIBRARY, system="auth-system", version="1.0.0", reason="never was"),
        FreezeDeploys(actor=MIRA, reason="not hers to say"),
    ]
    for command in sent:
        record = people.record(command)
        await send_raw(dev, command.topic, command.key(), record.body, record.headers)
        await answer_to(dev, command.answers, command.key(), record.id)
    stolen = people.record(sent[0])
    await send_raw(dev, RUN_COMMANDS, "fleet", stolen.body.replace(b"sam@", b"mal@"), stolen.headers)
    refused = await answer_to(dev, RUN_EVENTS, "fleet", stolen.id)
    assert isinstance(refused.message, CommandRefused)
    await _are_put_aside(dev, people)
    await Person(dev, SAM).get("/planner/freeze")

    secrets = [form for topic in (RUN_COMMANDS, RELEASE_COMMANDS) for form in await _forms(dev, topic)]
    assert len(secrets) >= 9
    found = {
        **await _tables(dev),
        **await _topics(dev, tmp_path),
        "log": dev.logs(),
        "topics dead": (await dev.command("topics", "dead", "--json"))[1],
        "topics tail": (await dev.command("topics", "tail", RUN_COMMANDS.name))[1],
    }
    assert len(found) > 30
    assert [place for place, text in found.items() for secret in secrets if secret in text] == []
    # That it was looked for where it could have been:
    assert "looked for" in found["upgrades.run.commands.v1.jsonl"]
    assert "never was" in found["topics dead"]
    assert "(a token, not shown)" in found["topics tail"]


async def _are_put_aside(dev: Embedded, people: Commands) -> None:
    """Unreadable records with good tokens; and one with its token in headers of other names."""
    broken = people.record(WithdrawRelease(actor=LIBRARY, system="a", version="1.0.0", reason="never was"))
    elsewhere = RUN_COMMANDS
    token = dict(broken.headers)["ce_authorization"]
    odd = (("Authorization", b"Bearer " + token), ("x-token", token), ("CE_Authorization", token))
    await send_raw(dev, elsewhere, "leak", broken.body[:-1], broken.headers)
    await send_raw(dev, elsewhere, "leak", broken.body, (*broken.headers, *odd))
    await eventually(lambda: records(dev, dead_letters("planner")), lambda dead: len(dead) == 2)


async def _forms(dev: Embedded, topic: Topic) -> set[str]:
    """How each token that was sent would look: its signature, as bytes in hexadecimal, or whole in base64."""
    forms = set()
    for record in await records(dev, topic):
        token = dict(record.headers).get("ce_authorization") or b""
        signature = token.rpartition(b".")[2]
        forms |= {signature.decode(), signature.hex(), b64encode(token).decode()} if token else set()
    return forms


def _texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.jsonl")}


async def _tables(dev: Embedded) -> dict[str, str]:
    found = {}
    for service in SERVICES:
        connection = await asyncpg.connect(with_database(dev.postgres_url, f"upgrades_{service}"))
        try:
            for (table,) in await connection.fetch(_TABLES):
                rows = await connection.fetch(f"select t::text from {table} t")
                found[f"{service} {table}"] = "\n".join(row[0] for row in rows)
        finally:
            await connection.close()
    return found


async def _topics(dev: Embedded, folder: Path) -> dict[str, str]:
    """What a dump of the topics holds, and the raw bytes of those that carry no commands of people."""
    await dump_topics(dev.kafka, folder)
    found = await asyncio.to_thread(_texts, folder)
    for topic in TOPICS:
        if ".commands." not in topic.name:
            found[topic.name] = "\n".join(
                f"{record.headers!r} {record.value!r}" for record in await records(dev, topic)
            )
    return found


async def test_dev_says_neither_tokens_nor_passwords(dev: Embedded) -> None:
    """Its greeting stays in terminals, logs and screenshots."""
    kept = dev.world.folder / "world.json"
    announced = json.loads(kept.read_text())
    assert kept.stat().st_mode & 0o077 == 0
    said = dev.logs()
    assert announced["postgres"] not in said
    assert not [token for token in announced["tokens"].values() if token in said]
    assert "PRIVATE KEY" not in said
