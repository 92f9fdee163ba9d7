"""Two services' desks without a broker, and commands as people send them, or as others forge them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from services.planner.handlers import HANDLERS as PLANNER
from services.planner.store import PlannerTransaction
from services.registry.handlers import handlers as registry_handlers
from services.registry.store import RegistryTransaction
from shared.clock import utc_now
from shared.contracts.envelope import Envelope, Received, receive, to_headers
from shared.contracts.refusals import CommandRefused
from shared.contracts.values import Actor, Command
from shared.identity.keys import SigningKey
from shared.identity.tokens import issue_token
from shared.messaging.consumer import Consumer
from shared.messaging.inbox import Inbox
from shared.repository_urls import RepositoryRules
from shared.settings import KafkaSettings
from shared.storage.database import Database
from shared.storage.messages import read_headers
from tests.conftest import ServiceDatabase
from tests.messaging.counting import Kept
from tests.support.golden_messages import examples
from tests.support.keys import KEY, VERIFIER, token

Headers = Sequence[tuple[str, bytes | None]]
MAL = Actor(id="mal@globex.example", role="maintainer", projects=("globex-portal",))
SAM = Actor(id="sam@innopo.example", role="sre")
SOURCE = "/innopo-platform"
numbers = itertools.count(1)
_NO_STATE = {"inbox", "outbox", "audit", "audit_waiting"}
_TABLES = "select table_name from information_schema.tables where table_schema = 'public' order by 1"

COMMANDS = {
    type(one).__name__: one
    for one in examples().values()
    if isinstance(one, Command) and one.sent_by == "person"
}
"""One of each that people send."""


def _thief(actor: Actor) -> Actor:
    """Somebody of the same role with the same rights, and still not this person."""
    return actor.model_copy(update={"id": "mal@globex.example"})


def _other_role(actor: Actor) -> Actor:
    return actor.model_copy(update={"role": "sre" if actor.role != "sre" else "library"})


def ended(actor: Actor) -> str:
    return issue_token(actor, KEY, valid_for=timedelta(seconds=-1))


FORGERIES: dict[str, Callable[[Actor], str | bytes | None]] = {
    "no token": lambda actor: None,
    "an empty token": lambda actor: "",
    "not a token": lambda actor: "mira@acme.example",
    "bytes that are not text": lambda actor: b"\xff\xfe\x00",
    "a token that has ended": ended,
    "a token that anybody could sign": lambda actor: issue_token(actor, SecretStr(SigningKey.new().pem())),
    "the token of somebody else": lambda actor: token(_thief(actor)),
    "a token for another role": lambda actor: token(_other_role(actor)),
    "the word Bearer before it": lambda actor: f"Bearer {token(actor)}",
}


class Desk:
    """One service's inbox and consumer over a real database."""

    def __init__(self, database: Database[Any], inbox: Inbox[Any]) -> None:
        self.database, self.inbox = database, inbox
        self.consumer = Consumer(database.service, inbox, KafkaSettings(), tokens=VERIFIER)

    async def take(self, *records: Kept) -> None:
        await self.consumer.take(records)

    async def rows(self, sql: str) -> list[Any]:
        async with self.database.transaction() as tx:
            return list(await tx.fetch(sql))

    async def state(self) -> dict[str, list[str]]:
        """Every row of every table but those of messages, and of the audit log, which notes each try."""
        names = [name for (name,) in await self.rows(_TABLES) if name not in _NO_STATE]
        return {name: sorted(map(repr, await self.rows(f"select t::text from {name} t"))) for name in names}

    async def ids(self) -> set[tuple[str, str]]:
        """What counts as handled, without the places of records and vouchers."""
        rows = await self.rows("select source, id from inbox")
        return {(source, name) for source, name in rows if source.startswith(("/topic/", "/http/", SOURCE))}

    async def sent(self) -> list[Received]:
        """The messages in the outbox, which is emptied."""
        rows = await self.rows("select body, headers::text from outbox order by id")
        async with self.database.transaction() as tx:
            await tx.begin()
            await tx.fetch("delete from outbox")
        return [receive(read_headers(headers), body) for body, headers in rows]

    async def refusals(self) -> list[CommandRefused]:
        return [one.message for one in await self.sent() if isinstance(one.message, CommandRefused)]


@pytest.fixture
async def planner(service_database: ServiceDatabase) -> AsyncIterator[Desk]:
    database = Database("planner", await service_database("planner"), PlannerTransaction)
    yield Desk(database, Inbox(database, PLANNER))
    await database.close()


@pytest.fixture
async def both(planner: Desk, service_database: ServiceDatabase) -> AsyncIterator[dict[str, Desk]]:
    """The two services that people's commands are for."""
    database = Database("registry", await service_database("registry"), RegistryTransaction)
    inbox = Inbox(database, registry_handlers(lambda: None, RepositoryRules(local=True)))
    yield {"planner": planner, "registry": Desk(database, inbox)}
    await database.close()


def record(
    command: Command,
    given: str | bytes | None,
    *,
    name: str = "",
    source: str = SOURCE,
    offset: int | None = None,
) -> Kept:
    """The command as it comes from its topic, with this for a token."""
    name = name or f"command-{next(numbers)}"
    envelope = Envelope(name, source, command.type_name(), command.key(), utc_now())
    headers: list[tuple[str, bytes | None]] = [*to_headers(envelope)]
    if given is not None:
        headers.append(("ce_authorization", given if isinstance(given, bytes) else given.encode()))
    at = next(numbers)
    # As a stranger's program sends it, and not as ours do.
    return Kept(command.key().encode(), command.body(), headers, at, command.topic.name)


def is_unproven(refused: CommandRefused) -> bool:
    first = refused.refusals[0]
    fields = ("ce_authorization", "actor", "actor.projects")
    return first.kind == "forbidden" and first.field in fields and len(refused.refusals) == 1
