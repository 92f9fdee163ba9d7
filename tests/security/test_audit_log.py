"""The audit log in its database: each command has an entry, nothing changes, a rebuild goes on with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from local.broker import EmbeddedBroker
from services.restorers import restorer
from shared.audit.chain import is_signed
from shared.audit.notes import cut
from shared.audit.sealer import Sealer
from shared.audit.tries import _A_MINUTE, _Strangers
from shared.contracts.audit import NO_ENTRY, AuditHead
from shared.contracts.catalogue import MESSAGES
from shared.contracts.envelope import Received, seal
from shared.contracts.topics import AUDIT_EVENTS
from shared.contracts.values import Command
from shared.errors import Reject, forbidden
from shared.messaging.inbox import Inbox
from shared.messaging.relay import Relay
from shared.messaging.topic_admin import create_topics
from shared.messaging.topic_reader import read_topic
from shared.replay.evidence import Evidence
from shared.replay.rebuild import rebuild
from shared.replay.restorer import CannotRebuild
from shared.settings import KafkaSettings
from shared.storage.database import Database, Transaction
from shared.storage.migrations import migrate_async
from tests.conftest import NewDatabase
from tests.messaging.counting import EPOCH, received
from tests.support.golden_messages import examples
from tests.support.proofs import PROOFS, signer

COMMANDS = sorted((one for one in MESSAGES if issubclass(one, Command)), key=lambda one: one.__name__)


class Log:
    """A service's database with its sealer."""

    def __init__(self, url: str, service: str = "planner") -> None:
        self.database: Database[Transaction] = Database(service, url, Transaction)
        self.sealer = Sealer(self.database, signer(service))

    async def decided(self, *versions: str) -> None:
        inbox: Inbox[Transaction] = Inbox(self.database, dict.fromkeys(COMMANDS, _taken))
        await inbox.handle_together([received(version) for version in versions])

    async def entries(self) -> list[dict[str, Any]]:
        await self.sealer.seal()
        async with self.database.transaction() as tx:
            rows = await tx.fetch("select hash, entry::text from audit order by seq")
        return [json.loads(text) | {"hash": digest} for digest, text in rows]


async def _taken(command: Any, tx: Transaction) -> None:
    """Some handler that accepts."""


async def _refused(command: Any, tx: Transaction) -> None:
    """Some handler that refuses."""
    raise forbidden("not you: eyJhbGciOiJFZERTQSJ9.eyJqdGkiOiIxIn0.c2lnbmF0dXJl", cure="ask another")


@pytest.fixture
async def log(new_database: NewDatabase) -> AsyncIterator[Log]:
    url = await new_database()
    await migrate_async("planner", url)
    log = Log(url)
    yield log
    await log.database.close()


def of(kind: type[Any]) -> Command:
    """A message of this kind, as it was once sent."""
    found = next((one for one in examples().values() if type(one) is kind), None)
    assert isinstance(found, Command), f"golden_messages has no example of {kind.__name__}"
    return found


async def test_every_command_has_an_entry_accepted_or_refused(log: Log) -> None:
    """Catches a kind of command that somebody adds and that leaves no trace: the contracts name them all."""
    assert len(COMMANDS) >= 18
    for handler in (_taken, _refused):
        inbox: Inbox[Transaction] = Inbox(log.database, dict.fromkeys(COMMANDS, handler))
        for number, kind in enumerate(COMMANDS):
            envelope = seal(of(kind), source=f"/tests/{handler.__name__}/{number}", now=EPOCH)
            await inbox.handle_alone(Received(envelope, of(kind), "d" * 64, place="topic/0/7"))
            # A repeat is no second decision.
            await inbox.handle_alone(Received(envelope, of(kind), "d" * 64, place="topic/0/8"))
    entries = await log.entries()
    names = [kind.__name__ for kind in COMMANDS]
    assert [entry["what"] for entry in entries] == [*names, *names]
    assert [entry["verdict"] for entry in entries] == ["accepted"] * len(names) + ["refused"] * len(names)
    for entry, kind in zip(entries, [*COMMANDS, *COMMANDS], strict=True):
        assert (entry["who"], entry["origin"]) == (of(kind).actor.id, "topic/0/7")
        assert "eyJhbGci" not in json.dumps(entry)
    assert entries[0]["previous"] == NO_ENTRY
    assert [entry["previous"] for entry in entries[1:]] == [entry["hash"] for entry in entries[:-1]]


async def test_a_decision_and_its_entry_are_one_commit(log: Log) -> None:
    """Catches an entry of what was rolled back, and a decision whose entry is not there."""

    async def breaks() -> None:
        async with log.database.transaction() as tx:
            tx.note('{"never": true}')
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        await breaks()
    assert await log.entries() == []


async def test_the_log_takes_new_entries_and_nothing_else(log: Log) -> None:
    """Catches a change by the service's own role, of what is sealed and of what waits for it."""
    await log.decided("1.0.0")
    connection = await asyncpg.connect(log.database.url.replace("+asyncpg", ""))
    try:
        for statement in ("delete from audit_waiting", "update audit_waiting set note = '{}'"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        assert len(await log.entries()) == 1
        for statement in (
            "delete from audit",
            "update audit set hash = ''",
            "truncate audit",
            "truncate audit_waiting",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        assert await connection.fetchval("select count(*) from audit_waiting") == 0
    finally:
        await connection.close()


async def test_two_sealers_make_one_chain(log: Log) -> None:
    """Catches a fork where two processes of a service seal at the same moment."""
    other = Log(log.database.url)
    try:
        for round_ in range(5):
            await log.decided(*(f"{round_}.{n}.0" for n in range(4)))
            await asyncio.gather(log.sealer.seal(), other.sealer.seal())
    finally:
        await other.database.close()
    entries = await log.entries()
    assert [entry["seq"] for entry in entries] == list(range(1, 21))
    head = await log.sealer.head()
    assert (head.seq, head.hash) == (20, entries[-1]["hash"])
    assert is_signed(head, PROOFS)


def test_a_flood_without_a_token_makes_few_entries() -> None:
    """Catches a log that anybody can fill: a thousand addresses, a thousand tries each."""
    strangers = _Strangers()
    told = [strangers.take(f"10.0.{n // 250}.{n % 250}") for _ in range(3) for n in range(1000)]
    entries = [before for before in told if before is not None]
    assert 0 < len(entries) <= 2 * _A_MINUTE
    assert told[0] == 0


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Bearer eyJhbGciOiJFZERTQSJ9.eyJqdGkiOiIxIn0.c2ln", "eyJ"),
        ("postgres://app:hunter2@db/acme", "hunter2"),
        ("DETAIL:  Key (email)=(ann@example.org) already exists.", "ann@"),
        ("a\0b\x1b[2J\ud800", "\x1b"),
        ("x" * 400 + " eyJhbGciOiJFZERTQSJ9.eyJqdGkiOiIxIn0.c2ln", "eyJ"),
    ],
)
def test_what_is_kept_for_ever_has_no_secret(text: str, hidden: str) -> None:
    """Catches a token, a password, a row's value or a control character in an entry, or beyond its cut."""
    kept = cut(text, 300)
    assert hidden not in kept
    assert len(kept) <= 300
    kept.encode()


async def sent_on(log: Log, settings: KafkaSettings, service: str) -> None:
    """What waits in the outbox is on its topic."""
    relay = Relay(log.database, settings, signer=signer(service))
    await relay.start()
    async with asyncio.timeout(20):
        while await _waiting(log):  # noqa: ASYNC110  # another process tells of no event
            await asyncio.sleep(0.02)
    await relay.stop()


async def _waiting(log: Log) -> int:
    async with log.database.transaction() as tx:
        [[count]] = await tx.fetch("select count(*) from outbox")
    return int(count)


@pytest.mark.parametrize("service", ["registry", "planner", "executor"])
async def test_a_rebuild_restores_the_chain_and_goes_on_with_it(
    service: str, new_database: NewDatabase
) -> None:
    """Catches a rebuilt log with other hashes, a second beginning, and one that is silent about a gap."""
    urls = [await new_database() for _ in range(3)]
    await migrate_async(service, urls[0])
    async with EmbeddedBroker() as broker:
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers, embedded=True)
        await create_topics(settings)
        live = Log(urls[0], service)
        for round_ in range(3):
            await live.decided(f"{round_}.0.0", f"{round_}.1.0")
            await live.sealer.seal()
        await sent_on(live, settings, service)
        before = await live.entries()
        await live.database.close()

        done = await rebuild(settings, restorer(service, "memory:///"), urls[1], Evidence(PROOFS))
        assert (done.audited, done.passed_over) == (6, 0)
        rebuilt = Log(urls[1], service)
        assert await rebuilt.entries() == before
        await rebuilt.decided("9.0.0")
        await rebuilt.sealer.seal()
        await sent_on(rebuilt, settings, service)
        after = await rebuilt.entries()
        await rebuilt.database.close()
        assert after[:-1] == before
        assert (after[-1]["seq"], after[-1]["previous"]) == (7, before[-1]["hash"])
        heads = [
            AuditHead.model_validate(json.loads(record.value or b"")["head"])
            async for record in read_topic(settings, AUDIT_EVENTS)
        ]
        assert [head.seq for head in heads] == [2, 4, 6, 7]
        assert all(is_signed(head, PROOFS) for head in heads)

        # Somebody seals beside it: two entries of one number are on the topic.
        forked = Log(urls[0], service)
        await forked.decided("8.0.0")
        await forked.sealer.seal()
        await sent_on(forked, settings, service)
        await forked.database.close()
        with pytest.raises(CannotRebuild, match="there are two that differ"):
            await rebuild(settings, restorer(service, "memory:///"), urls[2], Evidence(PROOFS))
        kept = Evidence(PROOFS, broken_audit=True)
        assert (await rebuild(settings, restorer(service, "memory:///"), urls[2], kept)).audited == 7


async def test_a_refusal_over_http_has_one_entry(log: Log) -> None:
    """Catches a refused command that is noted by the inbox and not, or twice, in the log."""
    inbox: Inbox[Transaction] = Inbox(log.database, dict.fromkeys(COMMANDS, _refused))
    command = of(COMMANDS[0])
    for _ in range(2):
        with pytest.raises(Reject):
            await inbox.perform(seal(command, source="/http/x", now=EPOCH), command, "d" * 64)
    assert [entry["verdict"] for entry in await log.entries()] == ["refused"]
