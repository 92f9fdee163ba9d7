"""One release, many Projects: whoever stands alike is told alike, and the database fills in the names.

What a thousand Projects are told differs by their name, their inbox's revision, the message's id and, where
it ends, the time at which it had begun.
"""

from binascii import b2a_base64
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from services.notifier.domain import Standing
from shared.contracts.envelope import Envelope, seal, to_body, to_headers
from shared.contracts.notifications import Notification, NotificationClosed, NotificationReady
from shared.ids import derived_id
from shared.storage.database import Database, Transaction
from shared.storage.messages import LOOK_FOR_OTHERS, Outgoing, stored_headers

_PROJECT = '"project":'
_NOTIFIED_AT = '"notified_at":"'

_ENVELOPE = TypeAdapter(Envelope)

Event = NotificationReady | NotificationClosed


@dataclass
class Fanout:
    """A Release event that is being told to everybody who pins one of these versions of its System.

    They are told in the order of version and name; `after` is the last one who was. Whoever's pin moves
    meanwhile is weighed by its own version map, so a name that is passed by is not forgotten.
    """

    system: str
    versions: list[str]
    cause: Envelope
    after: tuple[str, str] = ("", "")
    done: bool = False
    id: int | None = None


@dataclass(frozen=True)
class Alike:
    """Projects that pin the same version and were told the same last, each with its inbox's revision."""

    standing: Standing
    """That of the first of them."""
    projects: list[str] = field(default_factory=list)
    revisions: list[int] = field(default_factory=list)
    notified_at: list[str] = field(default_factory=list)
    """When each was told last, as it is written there; empty where nothing is open."""


# The tables grow while they are read, so what the server knows of their sizes misleads it.
_BY_INDEX = (
    "select set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true)"
)

_AFFECTED = (
    "select p.project, p.version, i.revision, (select n.notification::text from notifications n"
    "  where n.project = p.project and n.system = $1 and n.state = 'open') from"
    " (select project, version from pins where system = $1 and version = any($2::text[])"
    "  and (version, project) > ($3::text, $4::text) order by version, project limit $5::int) p"
    " join inboxes i using (project) order by p.version, p.project"
)

_REVISIONS = (
    "update inboxes set revision = n.revision from unnest($1::text[], $2::bigint[]) as n (project, revision)"
    " where inboxes.project = n.project"
)

_TELL = (
    "with everybody as (select * from unnest($1::text[], $2::bigint[], $3::text[], $4::text[])"
    "  as n (project, revision, id, notified_at)),"
    " told as (insert into notifications (project, system, version, state, revision, notification)"
    "  select project, $5::text, $6::text, $7::text, revision,"
    "  ($8::text || project || $9::text || notified_at || $10::text)::json from everybody"
    "  on conflict (project, system, version) do update set"
    "  state = excluded.state, revision = excluded.revision, notification = excluded.notification),"
    " sent as (insert into outbox (topic, key, body, headers, epoch)"
    "  select $11::text, convert_to(project, 'UTF8'), convert_to("
    "   $12::text || project || $13::text || notified_at || $14::text || revision || $15::text, 'UTF8'),"
    "  ($16::text || id || $17::text || translate(encode(convert_to(project, 'UTF8'), 'base64'), E'\\n', '')"
    "   || $18::text)::json, $19::bigint from everybody returning id),"
    f" looked as ({LOOK_FOR_OTHERS.replace('$1', '$19')})"
    " select (select array_agg(id order by id) from sent), others from looked"
)

_NEXT = (
    "select id, system, versions::text, cause::text, after_version, after_project from fanouts"
    " where $1::text is null or system = $1 order by id limit 1"
)
_BEGUN = (
    "insert into fanouts (system, versions, cause, after_version, after_project)"
    " values ($1, $2::text::json, $3::text::json, $4, $5)"
)
_MOVED = "update fanouts set after_version = $2, after_project = $3 where id = $1"
_DONE = "delete from fanouts where id = $1"


class Telling(Transaction):
    """What a Release brings to everybody whom it concerns: a share of them is one commit."""

    share: ClassVar[int] = 5000
    """Projects: so many are told while as many are being sent."""

    async def next_fanout(self, system: str | None = None) -> Fanout | None:
        """The oldest that is not done, of this System or any. The weighing's lock must be held."""
        for number, of, versions, cause, *after in await self.fetch(_NEXT, system):
            known = _ENVELOPE.validate_json(cause)
            return Fanout(of, from_json(versions), known, (after[0], after[1]), id=number)
        return None

    async def keep_fanout(self, fanout: Fanout) -> None:
        """How far it has come is part of this commit."""
        if fanout.id is not None:
            moved = (fanout.id,) if fanout.done else (fanout.id, *fanout.after)
            await self.fetch(_DONE if fanout.done else _MOVED, *moved)
        elif not fanout.done:
            versions, cause = to_json(fanout.versions).decode(), to_json(asdict(fanout.cause)).decode()
            await self.fetch(_BEGUN, fanout.system, versions, cause, *fanout.after)

    async def affected(self, fanout: Fanout) -> AsyncIterator[Alike]:
        """Where the next share stands of those whom it concerns: those together who stand alike."""
        await self.fetch(_BY_INDEX)
        # One more than are told, to see whether that is all.
        rows = await self.fetch(_AFFECTED, fanout.system, fanout.versions, *fanout.after, self.share + 1)
        fanout.done = len(rows) <= self.share
        alike: dict[tuple[str, str], Alike] = {}
        for project, pinned, revision, told in rows[: self.share]:
            words, notified_at = _words(told, project) if told else ("", "")
            same = (pinned, words)
            group = alike.get(same)
            if group is None:
                opened = Notification.model_validate_json(told) if told else None
                group = alike[same] = Alike(Standing(project, fanout.system, pinned, opened))
            group.projects.append(project)
            group.revisions.append(revision)
            group.notified_at.append(notified_at)
            fanout.after = (pinned, project)
        for group in alike.values():
            yield group

    async def tell_alike(self, changed: Sequence[Notification], alike: Alike) -> None:
        """Keep and send to all of them what has changed for the first. The weighing's lock must be held."""
        for number, one in enumerate(changed, 1):
            revisions = [revision + number for revision in alike.revisions]
            event = event_of(one, revisions[0])
            envelope = seal(event, source=self.source, now=self.now, cause=self.cause)
            epoch = self.database.outlet.epoch
            words = _Words.of(event, envelope, alike, revisions)
            [(ids, others)] = await self.fetch(_TELL, *words.args(), epoch)
            self._written.append((epoch, ids, words.messages(), others))
        if changed:
            revisions = [revision + len(changed) for revision in alike.revisions]
            await self.fetch(_REVISIONS, alike.projects, revisions)


async def fanouts_wait(database: Database[Any]) -> bool:
    """Whether there is one, asked without the weighing's lock: nearly always there is none."""
    [(waits,)] = await database.lane.fetch("select exists (select from fanouts)")
    return bool(waits)


def event_of(notification: Notification, revision: int) -> Event:
    """What tells that a notification has changed; `revision` is the inbox's with it."""
    if notification.state == "open":
        return NotificationReady(notification=notification, revision=revision)
    return NotificationClosed(notification=notification, revision=revision)


@dataclass(frozen=True)
class _Words:
    """What `event` says to the first, in its `envelope`: what is the same for all, and what is not."""

    event: Event
    envelope: Envelope
    projects: Sequence[str]
    revisions: Sequence[int]
    ids: Sequence[str]
    times: Sequence[str]
    body: tuple[str, str, str]
    """What comes before the Project's name, before the time, and before the revision and the last brace."""

    @classmethod
    def of(cls, event: Event, envelope: Envelope, alike: Alike, revisions: Sequence[int]) -> "_Words":
        one, kind = event.notification, event.type_name()
        ids = [
            derived_id(kind, f"{project}/{revision}")
            for project, revision in zip(alike.projects, revisions, strict=True)
        ]
        opening, rest = _around(to_body(event).decode(), _PROJECT, one.project)
        middle, when, closing = _at_the_end(rest)
        closing, _ = closing.rsplit(f"{event.revision}", 1)
        # What closes keeps the time at which each was told.
        times = [when] * len(ids) if one.state == "open" else alike.notified_at
        return cls(event, envelope, alike.projects, revisions, ids, times, (opening, middle, closing))

    def args(self) -> tuple[Any, ...]:
        """For `_TELL`, but the epoch."""
        one = self.event.notification
        before, headers = _around(stored_headers(to_headers(self.envelope)), "", _base64(self.envelope.id))
        between, after = _around(headers, "", _base64(self.envelope.subject))
        head, rest = _around(one.model_dump_json(), _PROJECT, one.project)
        tail, _, end = _at_the_end(rest)
        return (
            *(self.projects, self.revisions, [_base64(each) for each in self.ids], self.times),
            *(one.system, one.version, one.state, head, tail, end),
            *(self.event.topic.name, *self.body, "}"),
            *(before, between, after),
        )

    def messages(self) -> list[Outgoing]:
        """The same as the database writes into the outbox, for whoever sends it from memory."""
        topic, (opening, middle, closing) = self.event.topic.name, self.body
        headers = dict(to_headers(self.envelope))
        messages: list[Outgoing] = []
        for project, revision, name, when in zip(
            self.projects, self.revisions, self.ids, self.times, strict=True
        ):
            key = project.encode()
            headers["ce_id"], headers["ce_subject"] = name.encode(), key
            body = f"{opening}{project}{middle}{when}{closing}{revision}}}".encode()
            messages.append((topic, key, body, tuple(headers.items())))
        return messages


def _words(told: str, project: str) -> tuple[str, str]:
    """What was told, without the name of who was told it and the time; and the time."""
    head, rest = _around(told, _PROJECT, project)
    tail, when, end = _at_the_end(rest)
    return head + tail + end, when


def _at_the_end(text: str) -> tuple[str, str, str]:
    """What comes before, in and after the quotes of the time at which it was told, the last field."""
    before, found, rest = text.rpartition(_NOTIFIED_AT)
    assert found, "a template holds what is to be filled in"
    when, quote, after = rest.partition('"')
    return before + found, when, quote + after


def _around(text: str, key: str, value: str) -> tuple[str, str]:
    """What comes before and after a quoted value, the quotes included."""
    before, found, after = text.partition(f'{key}"{value}"')
    assert found, "a template holds what is to be filled in"
    return f'{before}{key}"', f'"{after}'


def _base64(text: str) -> str:
    return b2a_base64(text.encode(), newline=False).decode()
