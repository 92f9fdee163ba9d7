"""Where version maps stand, as one transaction sees and changes them: read and written by the batch."""

from collections.abc import Iterable
from datetime import datetime

from services.registry.domain.version_maps import Event, Standing
from services.registry.store.tables import MAP_EVENTS
from shared.storage.statement import HOLDS, Part

READ = (
    "select project, event_type, event::text, fence, holder"
    " from unnest($1::text[]) as asked (project) join version_maps using (project)"
)
_REVISION = "(v.event->'version_map'->>'revision')::bigint"
_COLUMNS = "unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])"
_NAMES = "project, event_type, event, fence, holder"


class Standings:
    """Those that were looked at, and those that are to be written."""

    def __init__(self) -> None:
        self._read: dict[str, Standing | None] = {}
        self._changed: dict[str, Standing] = {}
        self._happened: list[Event] = []

    def missing(self, projects: Iterable[str]) -> list[str]:
        return sorted({project for project in projects if project not in self._read})

    def found(self, asked: Iterable[str], rows: Iterable[tuple[str, str, str, int, str | None]]) -> None:
        """What READ says of those that were asked for."""
        self._read |= dict.fromkeys(asked)
        for project, kind, event, fence, holder in rows:
            self._read[project] = Standing(MAP_EVENTS[kind].model_validate_json(event), fence, holder)

    def of(self, project: str) -> Standing | None:
        return self._changed.get(project) or self._read[project]

    def keep(self, standing: Standing, *, happened: bool) -> None:
        self._changed[standing.version_map.project] = standing
        if happened:
            self._happened.append(standing.event)

    def guard(self) -> Part | None:
        """Whether what was read still stands: nobody else has raised a fence or a revision."""
        seen = [standing for standing in self._read.values() if standing is not None]
        if not seen:
            return None
        locked = (
            "select 1 from version_maps v"
            " join unnest($1::text[], $2::bigint[], $3::bigint[]) as seen (project, fence, revision)"
            f" on v.project = seen.project and v.fence = seen.fence and {_REVISION} = seen.revision"
            " order by v.project for update of v"
        )
        maps = [standing.version_map for standing in seen]
        args = (
            [one.project for one in maps],
            [standing.fence for standing in seen],
            [one.revision for one in maps],
            len(seen),
        )
        return Part(f"select (select count(*) from ({locked}) as locked) = $4 as holds", args)

    def parts(self, now: datetime) -> list[Part]:
        parts = []
        for sql, some in (
            (_ADD, [one for name, one in self._changed.items() if self._read.get(name) is None]),
            (_CHANGE, [one for name, one in self._changed.items() if self._read.get(name) is not None]),
        ):
            if some:
                parts.append(Part(sql, _columns(some)))
        if self._happened:
            parts.append(Part(_REMEMBER, (*_history(self._happened), now)))
        return parts


_ADD = (
    f"insert into version_maps ({_NAMES}) select project, event_type, event::json, fence, holder"
    f" from {_COLUMNS} as n ({_NAMES}) where {HOLDS}"
)
_CHANGE = (
    "update version_maps v set event_type = n.event_type, event = n.event::json, fence = n.fence,"
    f" holder = n.holder from {_COLUMNS} as n ({_NAMES}) where v.project = n.project and {HOLDS}"
)
_REMEMBER = (
    "insert into version_map_history (project, revision, event_type, event, happened_at)"
    " select project, revision, event_type, event::json, $5"
    " from unnest($1::text[], $2::bigint[], $3::text[], $4::text[])"
    " as n (project, revision, event_type, event)"
    f" where {HOLDS}"
)


def _columns(some: list[Standing]) -> tuple[list[object], ...]:
    return (
        [one.version_map.project for one in some],
        [type(one.event).__name__ for one in some],
        [one.event.model_dump_json() for one in some],
        [one.fence for one in some],
        [one.holder for one in some],
    )


def _history(events: list[Event]) -> tuple[list[object], ...]:
    return (
        [event.version_map.project for event in events],
        [event.version_map.revision for event in events],
        [type(event).__name__ for event in events],
        [event.model_dump_json() for event in events],
    )
