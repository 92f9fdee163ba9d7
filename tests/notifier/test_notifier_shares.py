"""A Release is told share by share: whatever comes between two of them, and wherever a process dies."""

import asyncio
import itertools
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.notifications import NotificationClosed, NotificationReady
from shared.contracts.values import Message
from tests.faults.armed import Armed
from tests.notifier.notifier_world import Few, Notifier, after, facts, published, recorded, running, withdrawn

PROJECTS = tuple(f"portal-{number}" for number in range(7))
VERSIONS = ("1.2.0", "1.3.0", "1.4.0")
PINS = st.sampled_from(("1.1.0", "1.1.5", *VERSIONS))
MAPS = st.tuples(st.sampled_from(PROJECTS), st.none() | PINS)
RELEASES = st.tuples(st.booleans(), st.sampled_from(VERSIONS))
STEPS = st.lists(MAPS | RELEASES | st.integers(1, 3), max_size=12)
"""A Project pins a version or nothing; a Release is published or withdrawn; so many shares are told."""

Events = list[NotificationReady | NotificationClosed]


def history(begin: Sequence[str], steps: Sequence[Any]) -> list[Message | int]:
    """What is heard, and how many shares are told in between."""
    found: list[Message | int] = []
    revisions: Counter[str] = Counter()
    for project, pinned in zip(PROJECTS, begin, strict=True):
        revisions[project] += 1
        found.append(recorded(revisions[project], project, auth=pinned))
    for step in steps:
        match step:
            case int():
                found.append(step)
            case (bool(gone), version):
                found.append(withdrawn(version) if gone else published(version))
            case (project, pinned):
                revisions[project] += 1
                pins = {} if pinned is None else {"auth": pinned}
                found.append(recorded(revisions[project], project, **pins))
    return found


def assert_each_once(events: Events) -> None:
    """Every inbox's changes are numbered without a gap, and none says again what the one before said."""
    told: dict[str, Events] = {}
    for event in events:
        told.setdefault(event.notification.project, []).append(event)
    for of_one in told.values():
        assert [event.revision for event in of_one] == list(range(1, len(of_one) + 1))
        said = [facts(event.notification) for event in of_one]
        assert all(one != other for one, other in itertools.pairwise(said))


@settings(max_examples=15)
@given(st.tuples(*(PINS for _ in PROJECTS)), STEPS)
async def test_whatever_comes_between_two_shares_each_is_told_once(
    notifier_url: str, begin: Sequence[str], steps: Sequence[Any]
) -> None:
    """In the end an inbox is what its pins and the Releases make of it, as if each had come at once."""
    heard = history(begin, [(False, "1.2.0"), *steps])
    async with running(notifier_url, Few) as notifier:
        events: Events = []
        for one in heard:
            if isinstance(one, int):
                await notifier.tell_rest(most=one)
            else:
                await notifier.hear(one)
        await notifier.tell_rest()
        events += await notifier.sent()  # type: ignore[arg-type]
        opened = {project: await notifier.told(project) for project in PROJECTS}
    at_once = after([one for one in heard if not isinstance(one, int)]).open()
    assert [facts(one) for project in PROJECTS for one in opened[project]] == [facts(one) for one in at_once]
    assert_each_once(events)


async def test_one_release_is_over_before_the_next_is_told(notifier_url: str) -> None:
    async with running(notifier_url, Few) as notifier:
        for project in PROJECTS:
            await notifier.hear(recorded(1, project, auth="1.1.0"))
        await notifier.hear(published("1.2.0"))
        assert len(await notifier.sent()) == Few.share, "the rest is told later"
        await notifier.hear(published("1.3.0"))
        shares = await notifier.tell_rest()
        assert shares == len(PROJECTS) // Few.share
        assert {one.supersedes for project in PROJECTS for one in await notifier.told(project)} == {
            ("1.2.0",)
        }


async def tell(url: str, crash_points: Armed) -> int:
    """Let a process tell what is left; its exit code."""
    command = [sys.executable, "-m", "tests.notifier.telling", url]
    environment = {**os.environ, **crash_points.variables}
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    return await process.wait()


async def test_killed_between_shares_nobody_is_forgotten_or_told_twice(
    notifier_url: str, tmp_path: Path
) -> None:
    crash_points = Armed(tmp_path)
    commit = "notifier.ReleasePublished.commit"
    async with running(notifier_url, Few) as notifier:
        for project in PROJECTS:
            await notifier.hear(recorded(1, project, auth="1.1.0"))
        await notifier.hear(published("1.2.0"))
        for place in (f"{commit}.before", f"{commit}.after", "notifier.share.told"):
            crash_points.arm(place)
            assert await tell(notifier_url, crash_points) != 0, place
        assert crash_points.waiting() == []
        assert await tell(notifier_url, crash_points) == 0
        events: Events = await notifier.sent()  # type: ignore[assignment]
        assert sorted(event.notification.project for event in events) == sorted(PROJECTS)
        assert_each_once(events)
        assert await notifier.tell_rest() == 0


async def test_those_who_stand_alike_are_told_the_same_in_every_share(notifier: Notifier) -> None:
    """A share of thousands is written by the database and sent from memory: both say the same."""
    for project in PROJECTS:
        await notifier.hear(recorded(1, project, auth="1.1.0"))
    outlet = notifier.database.outlet
    outlet.lead(1)
    outlet.begin_reading()
    outlet.read_to_the_end()
    await notifier.hear(published("1.2.0"))
    await notifier.hear(published("1.3.0"))
    from_memory = outlet.take()
    assert not outlet.must_read
    assert len(from_memory) == 3 * len(PROJECTS)
    said = [(*message[:3], list(message[3])) for _, message in from_memory]
    assert said == await notifier.outbox()
