"""A file that ends, starves or delays its reader costs that reading alone."""

import asyncio
import ctypes
import itertools
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import pytest

from shared.errors import Failure, Reject, Retry, invalid
from shared.packages.archive import read_archive
from shared.reading.progress import now_reading
from shared.reading.readers import Limits, ReaderEnded, Readers
from tests.security.raw_tar import member, packed

SMALL = Limits(cpu_s=1, deadline_s=20, memory_bytes=512 << 20)


@pytest.fixture
async def children() -> AsyncIterator[Readers]:
    made = Readers(limits=SMALL)
    yield made
    made.close()


def crash(name: str) -> None:
    now_reading(name)
    ctypes.string_at(0)


def burn() -> None:
    while True:
        pass


def eat() -> int:
    return len([bytes(1 << 20) for _ in range(2_000)])


def nest(depth: int) -> int:
    return nest(depth + 1)


def refuse() -> None:
    raise invalid("not so", field="x", cure="otherwise")


def fail() -> None:
    raise Failure("no")


def variables() -> dict[str, str]:
    return dict(os.environ)


def interval(seconds: float) -> tuple[float, float]:
    """The slow work itself: nothing sets the event."""
    began = time.monotonic()
    threading.Event().wait(seconds)
    return began, time.monotonic()


ENDS: Sequence[tuple[Callable[[], object], str]] = [
    (partial(crash, "a.sql"), "ended its reader (SIGSEGV) while it read a.sql"),
    (partial(os._exit, 3), "ended its reader (exit code 3)"),
    (burn, "took more than 1 s of CPU time"),
    (eat, "took too much memory"),
    (partial(nest, 0), "nested too deeply"),
]


@pytest.mark.parametrize(("function", "reason"), ENDS)
async def test_what_ends_its_reader_ends_nothing_else(
    children: Readers, function: Callable[[], object], reason: str
) -> None:
    """Every service of a world ended with one crash in C, and one endless loop stopped them."""
    beside = asyncio.create_task(children.read("b", interval, 0.5))
    with pytest.raises(ReaderEnded) as ended:
        await children.read("a", function)
    assert str(ended.value) == reason
    await beside
    assert await children.read("a", len, b"abc") == 3


async def test_a_reading_that_sleeps_ends_at_its_deadline() -> None:
    children = Readers(limits=Limits(deadline_s=1))
    with pytest.raises(ReaderEnded, match="took too long"):
        await children.read("a", interval, 60.0)
    children.close()


async def test_who_goes_away_takes_its_reading_along() -> None:
    children = Readers(at_once=1)
    await children.read("a", len, b"")
    reading = asyncio.create_task(children.read("a", interval, 60.0))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    async with asyncio.timeout(20):
        assert await children.read("b", len, b"ab") == 2
    children.close()


async def test_an_actor_reads_one_thing_at_a_time_and_keeps_nobody_waiting() -> None:
    children = Readers(at_once=2)
    mine = [asyncio.create_task(children.read("a", interval, 0.3)) for _ in range(3)]
    await asyncio.sleep(0)
    _, ended = await children.read("b", interval, 0.1)
    times = [await each for each in mine]
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(times))
    assert ended < times[-1][0]
    children.close()


async def test_an_actor_has_only_so_much_waiting() -> None:
    children = Readers(waiting_max=2)
    waiting = [asyncio.create_task(children.read("a", len, b"")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Retry, match="wait to be read"):
        await children.read("a", len, b"")
    assert await asyncio.gather(*waiting) == [0, 0]
    assert await children.read("a", len, b"") == 0
    children.close()


async def test_a_refusal_comes_out_as_it_was_made(children: Readers) -> None:
    child = await children.read("a", os.getpid)
    with pytest.raises(Reject) as rejected:
        await children.read("a", refuse)
    assert rejected.value.refusals[0].cure == "otherwise"
    with pytest.raises(Failure) as failed:
        await children.read("a", fail)
    assert failed.value.outcome.reason == "no"
    with pytest.raises(ZeroDivisionError):
        await children.read("a", eval, "1 / 0")
    assert await children.read("a", os.getpid) == child, "a refusal is an answer, and its child stays"


async def test_a_child_stays_however_large_its_parent_has_been(children: Readers) -> None:
    """Would catch a service that starts a child for each reading once it has held 384 MiB itself."""
    large = bytearray(400 << 20)
    del large
    assert await children.read("a", os.getpid) == await children.read("a", os.getpid)


async def test_a_child_knows_no_secret(children: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPGRADES_SERVICE_KEY", "very secret")
    found = await children.read("a", variables)
    assert not {name for name in found if "UPGRADES" in name} - {"UPGRADES_CACHE"}


async def test_the_largest_package_that_may_be_is_read() -> None:
    """Within the limits of a service, or every package near the bound would count as one that kills."""
    children = Readers()
    size = 31 << 20
    members = (
        member(b"files/%d" % number, os.urandom(1 << 20) + bytes(size - (1 << 20))) for number in range(8)
    )
    data = packed(*members)
    found = await children.read("a", read_archive, data)
    assert sum(len(each.data) for each in found.values()) == 8 * size
    children.close()
