"""The version map: a Run that holds it cannot lose it, and nobody else changes it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.domain.version_maps import Change, Standing, change, recorded_at_first
from shared.contracts.refusals import CommandRefused
from shared.contracts.version_maps import (
    HoldVersionMap,
    RecordVersionMap,
    ReleaseVersionMap,
    VersionMap,
    VersionMapHeld,
    VersionMapRecorded,
    VersionMapReleased,
)
from shared.errors import Reject
from tests.registry.registry_world import PINS, SAM, Registry, arrived

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEW = {"auth-system": "1.3.0"}
RUNS = ("run-0123456789ab", "run-ba9876543210")
ASK = {"actor": SAM, "project": "acme-portal"}


def hold(run: int = 0, fence: int = 1, pins: dict[str, str] = PINS) -> HoldVersionMap:
    return HoldVersionMap.model_validate({**ASK, "run_id": RUNS[run], "fence": fence, "expected_pins": pins})


def record(run: int = 0, fence: int = 1, pins: dict[str, str] = NEW) -> RecordVersionMap:
    return RecordVersionMap.model_validate({**ASK, "run_id": RUNS[run], "fence": fence, "pins": pins})


def let_go(run: int = 0, fence: int = 1) -> ReleaseVersionMap:
    return ReleaseVersionMap.model_validate({**ASK, "run_id": RUNS[run], "fence": fence})


@pytest.fixture
async def registered(registry: Registry) -> Registry:
    await registry.publish()
    await registry.register()
    await registry.sent()
    return registry


async def test_held_then_recorded(registered: Registry) -> None:
    await registered.hear(hold())
    await registered.hear(record())
    held, recorded = await registered.sent()
    assert isinstance(held, VersionMapHeld)
    assert (held.version_map.held_by, held.version_map.pins, held.version_map.revision) == (RUNS[0], PINS, 2)
    assert isinstance(recorded, VersionMapRecorded)
    assert (recorded.version_map.held_by, recorded.version_map.run_id) == (None, RUNS[0])
    assert (recorded.version_map.pins, recorded.version_map.revision) == (NEW, 3)
    assert recorded.version_map.recorded_at > held.version_map.recorded_at


async def test_held_then_let_go(registered: Registry) -> None:
    await registered.hear(hold())
    await registered.hear(let_go())
    held, released = await registered.sent()
    assert isinstance(held, VersionMapHeld)
    assert isinstance(released, VersionMapReleased)
    assert (released.version_map.pins, released.version_map.held_by) == (PINS, None)
    assert released.version_map.recorded_at == held.version_map.recorded_at


async def test_a_repeat_is_answered_by_the_same_event(registered: Registry) -> None:
    for command, again in (
        (hold(), hold(fence=2)),
        (record(fence=2), record(fence=3)),
        (hold(fence=4, pins=NEW), hold(fence=4, pins=NEW)),
        (let_go(fence=5), let_go(fence=6)),
    ):
        await registered.hear(command)
        await registered.hear(again)
        first, second = await registered.sent()
        assert first == second
    assert await registered.count("version_map_history") == 5


async def test_a_refused_command_is_answered_on_the_topic(registered: Registry) -> None:
    await registered.hear(record(), "record-without-hold")
    (refused,) = await registered.sent()
    assert isinstance(refused, CommandRefused)
    assert (refused.command_id, refused.subject) == ("record-without-hold", "acme-portal")


async def test_one_batch_sees_its_own_earlier_messages(registered: Registry) -> None:
    batch = [arrived(command) for command in (hold(), record(), hold(1, 2, NEW))]
    await registered.inbox.handle_together(batch)
    assert [type(message) for message in await registered.sent()] == [
        VersionMapHeld,
        VersionMapRecorded,
        VersionMapHeld,
    ]


runs, fences, pins = st.integers(0, 1), st.integers(1, 4), st.sampled_from([PINS, NEW])
commands = st.one_of(
    st.builds(hold, runs, fences, pins),
    st.builds(record, runs, fences, pins),
    st.builds(let_go, runs, fences),
)


def after(asked: list[Change]) -> list[tuple[Change, Standing, Standing | None]]:
    """Each command with the standing before it and after it; None where it was refused."""
    standing = recorded_at_first(VersionMap(project="acme-portal", pins=PINS, revision=1, recorded_at=NOON))
    history: list[tuple[Change, Standing, Standing | None]] = []
    for number, command in enumerate(asked):
        try:
            changed = change(command, standing, NOON + timedelta(seconds=number))
        except Reject:
            history.append((command, standing, None))
        else:
            history.append((command, standing, changed))
            standing = changed
    return history


@given(st.lists(commands, max_size=12))
def test_only_the_holder_changes_pins_and_every_event_raises_the_revision(asked: list[Change]) -> None:
    for command, before, changed in after(asked):
        if changed is None:
            continue
        assert changed.fence >= before.fence
        if changed.event is before.event:
            continue
        assert changed.version_map.revision == before.version_map.revision + 1
        assert before.version_map.held_by in (None, command.run_id)
        if changed.version_map.pins != before.version_map.pins:
            assert before.version_map.held_by == command.run_id
            assert isinstance(changed.event, VersionMapRecorded)


@given(st.lists(commands, max_size=12))
def test_the_same_command_twice_is_as_good_as_once(asked: list[Change]) -> None:
    for command, _, changed in after(asked):
        if changed is not None:
            assert change(command, changed, NOON).event is changed.event


@given(st.lists(commands.filter(lambda command: command.run_id == RUNS[1]), max_size=8))
def test_who_holds_the_map_cannot_lose_it(others: list[Change]) -> None:
    history = after([hold(), *others])
    assert all(changed is None for _, _, changed in history[1:])
