"""A notifier without a broker, the events that it hears, and a store in memory for its laws."""

import base64
import hashlib
import itertools
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import text

from services.notifier.api import router
from services.notifier.domain import Releases, Standing
from services.notifier.handlers import handlers
from services.notifier.shares import Shares
from services.notifier.store import NotifierTransaction
from services.notifier.store.fanout import Alike, Fanout
from services.notifier.store.inboxes import ProjectInbox
from shared.contracts.envelope import Envelope, Received, receive, seal, to_body
from shared.contracts.notifications import Notification
from shared.contracts.projects import ProjectRegistered
from shared.contracts.releases import PackageMigration, Release, ReleasePublished, ReleaseWithdrawn
from shared.contracts.values import Actor, Message
from shared.contracts.version_maps import Pins, VersionMap, VersionMapRecorded
from shared.http import problems
from shared.messaging.inbox import Inbox
from shared.storage.database import Database
from shared.storage.messages import Outgoing, read_headers
from shared.storage.tables import OutboxRow
from tests.support.keys import VERIFIER, bearer

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SAM = Actor(id="sam@platform.example", role="sre")
MIRA = Actor(id="mira@acme.example", role="maintainer", projects=("acme-portal",))
TABLES_IN_ORDER = ("inbox", "outbox", "known_releases", "inboxes", "pins", "notifications", "fanouts")
HANDLERS = handlers(lambda: None)

_revisions = itertools.count(1)


def release(version: str, *, migrations: int = 1, system: str = "auth-system", **changed: Any) -> Release:
    """A Release with so many migrations, each of them in every later one too."""
    document = {
        "system": system,
        "version": version,
        "package": hashlib.sha256(f"{system} {version}".encode()).hexdigest(),
        "summary": f"What {version} brings",
        "migrations": [
            PackageMigration(
                name=f"2025010100000{number}_step", checksum="0" * 64, reversible=True, contracting=False
            )
            for number in range(migrations)
        ],
        "published_at": NOON,
        "published_by": "lena@library.example",
    }
    return Release.model_validate({**document, **changed})


def published(version: str, **given: Any) -> ReleasePublished:
    return ReleasePublished(release=release(version, **given), change="minor", revision=next(_revisions))


def withdrawn(version: str, reason: str = "It loses sessions.", **given: Any) -> ReleaseWithdrawn:
    return ReleaseWithdrawn(release=release(version, withdrawn=reason, **given), revision=next(_revisions))


def recorded(revision: int, project: str = "acme-portal", **pins: str) -> VersionMapRecorded:
    """A version map; `auth="1.2.4"` pins auth-system."""
    named: Pins = {f"{name}-system": version for name, version in pins.items()}
    version_map = VersionMap(project=project, pins=named, revision=revision, recorded_at=NOON)
    return VersionMapRecorded(version_map=version_map)


def registered(project_id: str, revision: int) -> ProjectRegistered:
    commands = {key: ["true"] for key in ("activate", "observe", "health", "destroy", "logs")}
    environments = {name: {"database": f"secret:{name}", **commands} for name in ("production", "staging")}
    checks = {"look": {"kind": "command", "run": ["true"]}}
    project = {
        "id": project_id,
        "repository": "/repository",
        "approvers": [MIRA.id],
        "definition": {
            "id": project_id,
            "name": "A portal",
            "environments": environments,
            "checks": {"validate": checks, "check-workflows": checks},
        },
    }
    return ProjectRegistered.model_validate({"project": project, "revision": revision})


def facts(notification: Notification) -> dict[str, Any]:
    """What does not depend on the order in which things became known."""
    return notification.model_dump(exclude={"supersedes", "notified_at"})


@dataclass
class Notifier:
    """The notifier's rooms, wired as its app does."""

    database: Database[NotifierTransaction]
    inbox: Inbox[NotifierTransaction]
    http: httpx.AsyncClient

    async def hear(self, *messages: Message) -> None:
        """Handle messages one after the other, as the consumer does."""
        for message in messages:
            await self.inbox.handle_alone(arrived(message))

    async def tell_rest(self, most: int | None = None) -> int:
        """Tell whoever is to be told of a Release and was not, `most` shares of them; how many there were."""
        shares, count = Shares(self.database), 0
        while count != most and await shares.tell_next():
            count += 1
        return count

    async def outbox(self) -> list[Outgoing]:
        """What waits there, as it is to be sent."""
        rows = await self.database.lane.fetch(
            "select topic, key, body, headers::text from outbox order by id"
        )
        return [(topic, key, body, read_headers(headers)) for topic, key, body, headers in rows]

    async def hear_together(self, messages: Sequence[Message]) -> None:
        await self.inbox.handle_together([arrived(message) for message in messages])

    async def sent(self) -> list[Message]:
        """Everything that was sent since the last look."""
        async with self.database.transaction() as tx:
            query = text("delete from outbox returning id, topic, key, body, headers, created_at").columns(
                *OutboxRow.__table__.columns  # type: ignore[attr-defined]
            )
            rows = sorted(await tx.session.execute(query), key=lambda row: int(row.id))
        return [
            receive([(name, base64.b64decode(value)) for name, value in row.headers], row.body).message
            for row in rows
        ]

    async def told(self, project: str = "acme-portal", state: str | None = "open") -> list[Notification]:
        async with self.database.transaction() as tx:
            return await tx.notifications(project, state)

    async def read(self, path: str, who: Actor = SAM, **query: str) -> Any:
        """The document at `path`, or the status that is not 200."""
        headers = bearer(who)
        answer = await self.http.get(path, params=query, headers=headers)
        return answer.json() if answer.status_code == 200 else answer.status_code


def arrived(message: Message) -> Received:
    return Received(
        seal(message, source="/upgrades/registry", now=NOON),
        message,
        hashlib.sha256(to_body(message)).hexdigest(),
    )


class Few(NotifierTransaction):
    """A Release needs many shares to reach a few Projects."""

    share = 2


@asynccontextmanager
async def running(
    url: str, transaction: type[NotifierTransaction] = NotifierTransaction, *, emptied: bool = True
) -> AsyncIterator[Notifier]:
    database = Database("notifier", url, transaction)
    async with database.transaction() as tx:
        for table in TABLES_IN_ORDER if emptied else ():
            await tx.session.execute(text(f"delete from {table}"))
    app = FastAPI()
    app.state.tokens = VERIFIER
    problems.install(app)
    app.include_router(router(database), prefix="/notifier")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://notifier/notifier") as http:
        yield Notifier(database, Inbox(database, HANDLERS), http)
    await database.close()


@dataclass
class MemoryTransaction:
    """What the handlers need of their store, in memory; `changes` is all that was told, in order."""

    known: dict[str, Releases] = field(default_factory=dict)
    inboxes: dict[str, ProjectInbox] = field(default_factory=dict)
    kept: dict[tuple[str, str, str], Notification] = field(default_factory=dict)
    changes: list[Notification] = field(default_factory=list)
    now: datetime = NOON
    cause: Envelope | None = None

    def caused_by(self, cause: Envelope) -> None:
        self.cause = cause

    async def next_fanout(self, system: str | None = None) -> Fanout | None:
        """Each is told at once."""
        return None

    async def keep_fanout(self, fanout: Fanout) -> None:
        assert fanout.done

    async def begin_weighing(self) -> None:
        """Nobody else is here."""

    async def releases(self, systems: Iterable[str]) -> dict[str, Releases]:
        return {system: self.known.get(system, {}) for system in systems}

    async def save_release(self, one: Release) -> None:
        self.known[one.system] = {**self.known.get(one.system, {}), one.version: one}

    async def inbox(self, project: str) -> ProjectInbox:
        return self.inboxes.setdefault(project, ProjectInbox(project))

    async def pinned_versions(self, systems: Sequence[str]) -> list[tuple[str, str]]:
        pins = {pin for inbox in self.inboxes.values() for pin in inbox.pins.items()}
        return sorted(pin for pin in pins if pin[0] in systems)

    async def affected(self, fanout: Fanout) -> AsyncIterator[Alike]:
        fanout.done, system = True, fanout.system
        for project, inbox in sorted(self.inboxes.items()):
            if inbox.pins.get(system) in fanout.versions:
                yield Alike(Standing(project, system, inbox.pins[system], inbox.open.get(system)))

    async def tell_alike(self, changed: Sequence[Notification], alike: Alike) -> None:
        await self.tell(changed)

    async def tell(self, changed: Sequence[Notification]) -> None:
        for one in changed:
            self.inboxes[one.project].tell(one)
            self.kept[one.project, one.system, one.version] = one
            self.changes.append(one)

    def open(self) -> list[Notification]:
        opened = [one for one in self.kept.values() if one.state == "open"]
        return sorted(opened, key=lambda one: (one.project, one.system))


def after(messages: Iterable[Message]) -> MemoryTransaction:
    """The store after the handlers have heard these messages, each once."""
    tx = MemoryTransaction()
    for message in messages:
        tx.caused_by(arrived(message).envelope)
        handling = HANDLERS[type(message)](message, tx)
        # Nothing in memory is waited for.
        try:
            handling.__await__().__next__()
        except StopIteration:
            continue
        raise AssertionError("a handler waited for something")
    return tx
