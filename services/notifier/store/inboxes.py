"""Inboxes as a batch of version maps sees and changes them, and what is written of them at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic_core import from_json

from shared.contracts.notifications import Notification
from shared.storage.statement import HOLDS, Part

INBOXES = (
    "select project, revision, map_revision from unnest($1::text[]) as asked (project)"
    " join inboxes using (project)"
)
# Each in one row: what is read while everybody else waits is read in one round trip.
WHOLE = (
    "select asked.project, coalesce(i.revision, 0), coalesce(i.map_revision, 0),"
    " coalesce((select json_object_agg(p.system, p.version)::text from pins p"
    "  where p.project = asked.project), '{}'),"
    " array(select n.notification::text from notifications n"
    "  where n.project = asked.project and n.state = 'open')"
    " from unnest($1::text[]) as asked (project) left join inboxes i using (project)"
)


@dataclass
class ProjectInbox:
    """A Project's inbox: its revision, the map that it has seen, the pins of that, and what is open."""

    project: str
    revision: int = 0
    map_revision: int = 0
    pins: dict[str, str] = field(default_factory=dict)
    open: dict[str, Notification] = field(default_factory=dict)
    pinned_before: Mapping[str, str] = field(default_factory=dict)
    """As it stands in the table."""

    def tell(self, notification: Notification) -> int:
        """Take in a notification that has changed; the inbox's revision with it."""
        told = self.open.get(notification.system)
        if notification.state == "open":
            self.open[notification.system] = notification
        elif told is not None and told.version == notification.version:
            del self.open[notification.system]
        self.revision += 1
        return self.revision


def read_inbox(
    project: str, revision: int, map_revision: int, pins: str, told: Sequence[str]
) -> ProjectInbox:
    """An inbox as a row of WHOLE says."""
    pinned: dict[str, str] = from_json(pins)
    opened = [Notification.model_validate_json(one) for one in told]
    return ProjectInbox(
        project, revision, map_revision, pinned, {one.system: one for one in opened}, dict(pinned)
    )


Numbered = tuple[Notification, int]
"""A notification, and the inbox's revision with it."""


def write_inboxes(inboxes: Sequence[ProjectInbox]) -> list[Part]:
    """Revisions and pins as they are now; of the pins only what differs."""
    save = (
        "insert into inboxes (project, revision, map_revision) select project, revision, map_revision"
        " from unnest($1::text[], $2::bigint[], $3::bigint[]) as n (project, revision, map_revision)"
        f" where {HOLDS} on conflict (project) do update"
        " set revision = excluded.revision, map_revision = excluded.map_revision"
    )
    revisions = ([one.revision for one in inboxes], [one.map_revision for one in inboxes])
    parts = [Part(save, ([one.project for one in inboxes], *revisions))]
    gone = [
        (one.project, system) for one in inboxes for system in one.pinned_before if system not in one.pins
    ]
    if gone:
        unpin = (
            "delete from pins p using unnest($1::text[], $2::text[]) as n (project, system)"
            f" where p.project = n.project and p.system = n.system and {HOLDS}"
        )
        parts.append(Part(unpin, ([project for project, _ in gone], [system for _, system in gone])))
    new = [
        (one.project, system, version)
        for one in inboxes
        for system, version in one.pins.items()
        if one.pinned_before.get(system) != version
    ]
    if new:
        pin = (
            "insert into pins (project, system, version) select project, system, version"
            " from unnest($1::text[], $2::text[], $3::text[]) as n (project, system, version)"
            f" where {HOLDS} on conflict (project, system) do update set version = excluded.version"
        )
        parts.append(Part(pin, tuple(list(column) for column in zip(*new, strict=True))))
    return parts


def write_revisions(revisions: Mapping[str, int]) -> Part:
    sql = (
        "update inboxes set revision = n.revision"
        " from unnest($1::text[], $2::bigint[]) as n (project, revision)"
        f" where inboxes.project = n.project and {HOLDS}"
    )
    return Part(sql, (list(revisions), list(revisions.values())))


def write_notifications(changed: Sequence[Numbered]) -> list[Part]:
    """The last state of each of them."""
    if not changed:
        return []
    last = {(one.project, one.system, one.version): (one, number) for one, number in changed}
    rows = sorted(last.values(), key=lambda row: row[1])
    sql = (
        "insert into notifications (project, system, version, state, revision, notification)"
        " select project, system, version, state, revision, document::json"
        " from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])"
        " with ordinality as n (project, system, version, state, revision, document, number)"
        # What closes comes first, as only one may be open.
        f" where {HOLDS} order by number"
        " on conflict (project, system, version) do update set"
        " state = excluded.state, revision = excluded.revision, notification = excluded.notification"
    )
    columns = (
        [one.project for one, _ in rows],
        [one.system for one, _ in rows],
        [one.version for one, _ in rows],
        [one.state for one, _ in rows],
        [number for _, number in rows],
        [one.model_dump_json() for one, _ in rows],
    )
    return [Part(sql, columns)]
