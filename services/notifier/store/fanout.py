"""One release, many Projects: whoever stands alike is told alike, and the database fills in the names.

What a thousand Projects are told differs by their name, their inbox's revision, the message's id and, where
it ends, the time at which it had begun.
"""

from binascii import b2a_base64
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.notifier.domain import Standing
from shared.contracts.envelope import Envelope, seal, to_body, to_headers
from shared.contracts.notifications import Notification, NotificationClosed, NotificationReady
from shared.ids import derived_id
from shared.storage.database import Transaction
from shared.storage.messages import OUTBOX_CHANNEL, stored_headers
from shared.storage.statement import Part

_PROJECT = '"project":'
_NOTIFIED_AT = '"notified_at":"'

_SHARE = 5000
"""Projects that are held in memory at a time."""

Event = NotificationReady | NotificationClosed


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
    " sent as (insert into outbox (topic, key, body, headers)"
    "  select $11::text, convert_to(project, 'UTF8'), convert_to("
    "   $12::text || project || $13::text || notified_at || $14::text || revision || $15::text, 'UTF8'),"
    "  ($16::text || id || $17::text || translate(encode(convert_to(project, 'UTF8'), 'base64'), E'\\n', '')"
    "   || $18::text)::json from everybody)"
    f" select pg_notify('{OUTBOX_CHANNEL}', '')"
)


class Fanout(Transaction):
    """What a Release brings to everybody whom it concerns, share by share, in one commit."""

    async def affected(self, system: str, versions: Sequence[str]) -> AsyncIterator[Alike]:
        """Where everybody stands who pins one of these versions: those together who stand alike."""
        await self.fetch(_BY_INDEX)
        after = ("", "")
        rows: list[Any] = []
        while not rows or len(rows) == _SHARE:
            rows = list(await self.fetch(_AFFECTED, system, list(versions), *after, _SHARE))
            if not rows:
                return
            after = (rows[-1][1], rows[-1][0])
            alike: dict[tuple[str, str], Alike] = {}
            for project, pinned, revision, told in rows:
                words, notified_at = _words(told, project) if told else ("", "")
                same = (pinned, words)
                group = alike.get(same)
                if group is None:
                    opened = Notification.model_validate_json(told) if told else None
                    group = alike[same] = Alike(Standing(project, system, pinned, opened))
                group.projects.append(project)
                group.revisions.append(revision)
                group.notified_at.append(notified_at)
            for group in alike.values():
                yield group

    async def tell_alike(self, changed: Sequence[Notification], alike: Alike) -> None:
        """Keep and send to all of them what has changed for the first. The weighing's lock must be held."""
        for number, one in enumerate(changed, 1):
            revisions = [revision + number for revision in alike.revisions]
            event = event_of(one, revisions[0])
            envelope = seal(event, source=self.source, now=self.now, cause=self.cause)
            part = _tell(event, envelope, alike, revisions)
            await self.fetch(part.sql, *part.args)
        if changed:
            revisions = [revision + len(changed) for revision in alike.revisions]
            await self.fetch(_REVISIONS, alike.projects, revisions)


def event_of(notification: Notification, revision: int) -> Event:
    """What tells that a notification has changed; `revision` is the inbox's with it."""
    if notification.state == "open":
        return NotificationReady(notification=notification, revision=revision)
    return NotificationClosed(notification=notification, revision=revision)


def _tell(event: Event, envelope: Envelope, alike: Alike, revisions: Sequence[int]) -> Part:
    """Keep and send to all of these what `event`, in its `envelope`, says to the first."""
    one = event.notification
    kind = event.type_name()
    ids = [
        _base64(derived_id(kind, f"{project}/{revision}"))
        for project, revision in zip(alike.projects, revisions, strict=True)
    ]
    document, (_, when, _) = one.model_dump_json(), _at_the_end(one.model_dump_json())
    # What closes keeps the time at which each was told.
    times = [when] * len(ids) if one.state == "open" else alike.notified_at
    opening, rest = _around(to_body(event).decode(), _PROJECT, one.project)
    middle, _, closing = _at_the_end(rest)
    closing, _ = closing.rsplit(f"{event.revision}", 1)
    before, headers = _around(stored_headers(to_headers(envelope)), "", _base64(envelope.id))
    between, after = _around(headers, "", _base64(envelope.subject))
    head, rest = _around(document, _PROJECT, one.project)
    tail, _, end = _at_the_end(rest)
    return Part(
        _TELL,
        (
            *(alike.projects, list(revisions), ids, times),
            *(one.system, one.version, one.state, head, tail, end),
            *(event.topic.name, opening, middle, closing, "}"),
            *(before, between, after),
        ),
    )


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
