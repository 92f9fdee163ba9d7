"""A Project's version map: one Run holds it, then records or lets go. Compare first, then set."""

from dataclasses import dataclass, replace
from datetime import datetime

from shared.contracts.version_maps import (
    HoldVersionMap,
    Pins,
    RecordVersionMap,
    ReleaseVersionMap,
    VersionMap,
    VersionMapHeld,
    VersionMapRecorded,
    VersionMapReleased,
)
from shared.errors import conflict

Event = VersionMapRecorded | VersionMapHeld | VersionMapReleased
Change = HoldVersionMap | RecordVersionMap | ReleaseVersionMap


@dataclass(frozen=True)
class Standing:
    """Where a map stands: its last event, the highest fence seen, and the Run that held it last."""

    event: Event
    fence: int = 0
    holder: str | None = None

    @property
    def version_map(self) -> VersionMap:
        return self.event.version_map


def change(command: Change, standing: Standing, now: datetime) -> Standing:
    """The standing after the command; with the same event if it says what is so already.

    Raises `Reject`: an older fence, another Run's hold, other pins than expected, or no hold at all.
    """
    if command.fence < standing.fence:
        raise conflict(
            f"a command with fence {standing.fence} has been seen, this one is older",
            field="fence",
            value=command.fence,
            cure="nothing is to be done: a newer command of this Project is under way",
        )
    match command:
        case HoldVersionMap():
            event: Event = _hold(command, standing)
        case RecordVersionMap():
            event = _record(command, standing, now)
        case ReleaseVersionMap():
            event = _release(command, standing)
    return replace(standing, event=event, fence=command.fence, holder=command.run_id)


def recorded_at_first(version_map: VersionMap) -> Standing:
    """A new Project's standing."""
    return Standing(VersionMapRecorded(version_map=version_map))


def _hold(command: HoldVersionMap, standing: Standing) -> Event:
    held = standing.version_map
    if held.held_by not in (None, command.run_id):
        raise _held_by_another(held, command.run_id)
    if held.pins != command.expected_pins:
        raise conflict(
            f"the pins have changed since the plan: {_differences(command.expected_pins, held.pins)}",
            field="expected_pins",
            value=f"revision {held.revision}",
            cure="request a new plan",
        )
    if held.held_by == command.run_id:
        return standing.event
    return VersionMapHeld(version_map=_next(held, held_by=command.run_id), fence=command.fence)


def _record(command: RecordVersionMap, standing: Standing, now: datetime) -> Event:
    held = standing.version_map
    recorded = held.held_by is None and held.run_id == command.run_id and held.pins == command.pins
    if recorded and isinstance(standing.event, VersionMapRecorded):
        return standing.event
    _must_hold(held, command.run_id)
    recorded_now = {"run_id": command.run_id, "pins": command.pins, "recorded_at": now}
    return VersionMapRecorded(version_map=_next(held, held_by=None, **recorded_now), fence=command.fence)


def _release(command: ReleaseVersionMap, standing: Standing) -> Event:
    held = standing.version_map
    if isinstance(standing.event, VersionMapReleased) and standing.holder == command.run_id:
        return standing.event
    _must_hold(held, command.run_id)
    return VersionMapReleased(version_map=_next(held, held_by=None), fence=command.fence)


def _next(version_map: VersionMap, **changes: object) -> VersionMap:
    return version_map.model_copy(update={**changes, "revision": version_map.revision + 1})


def _must_hold(held: VersionMap, run_id: str) -> None:
    if held.held_by is None:
        raise conflict(
            f"{run_id} does not hold the version map of {held.project}, nobody does",
            field="run_id",
            value=run_id,
            cure="hold the map first; its pins must still be the ones that the Run was planned on",
        )
    if held.held_by != run_id:
        raise _held_by_another(held, run_id)


def _held_by_another(held: VersionMap, run_id: str) -> Exception:
    return conflict(
        f"the version map of {held.project} is held by {held.held_by}",
        field="run_id",
        value=run_id,
        cure=f"wait until {held.held_by} has ended, or roll it back",
    )


def _differences(expected: Pins, found: Pins) -> str:
    return ", ".join(
        f"{system} is {found.get(system, 'not pinned')} instead of {expected.get(system, 'not pinned')}"
        for system in sorted({*expected, *found})
        if expected.get(system) != found.get(system)
    )
