"""`python -m tests.faults.malformed`: malformed messages of every kind in a stream, with good ones."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from local import kafka
from local.postgres import EmbeddedPostgres
from shared.contracts.header_names import without_tokens
from shared.contracts.releases import ReleasePublished
from shared.contracts.topics import RELEASE_COMMANDS, RELEASE_EVENTS
from shared.messaging.record import Record
from shared.messaging.topic_admin import create_topics
from shared.settings import KafkaSettings
from tests.brokers.place import Place, Wire, eventually, header
from tests.brokers.poisons import Poison, poisons
from tests.brokers.tiny_service import program
from tests.faults.injections import lasting

_BURST = 100
_PER_SECOND = 500
_BAD_PER_GOOD = 10
_BIG_BYTES = 10_000
_FEW = 40
_BUG = "a bug in the handler"
_NUMBER = "number"
_DEAD_HEADERS = 4


@dataclass
class Outcome:
    """What became of the stream. Delays are from the sending of a good command to its event, in seconds."""

    kinds: int
    sent: dict[int, tuple[str, Wire]] = field(default_factory=dict)
    delays_s: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        delays = sorted(self.delays_s)
        return [
            f"{len(self.sent)} malformed messages of {self.kinds} kinds, {len(delays)} good ones among them",
            f"a good one is answered after p50 {delays[len(delays) // 2]:.3f} s,"
            f" p99 {delays[len(delays) * 99 // 100]:.3f} s, at most {delays[-1]:.3f} s",
            *(self.wrong or ["every malformed one is a dead letter once, as it was and with its reason"]),
        ]


async def flood(place: Place, messages: int) -> Outcome:
    """Send them in bursts, wait until all is handled, and compare each dead letter with what was sent."""
    kinds = poisons(place.name)
    outcome = Outcome(len(kinds))
    bad = itertools.islice(_stream(kinds), messages)
    good_at: dict[str, float] = {}
    before = await place.committed()
    servers = place.settings.bootstrap_servers
    answers = AIOKafkaConsumer(RELEASE_EVENTS.name, bootstrap_servers=servers, auto_offset_reset="latest")
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_request_size=4 << 20)
    service = place.service()
    async with producer, answers, _in_its_own_process(place):
        await answers.seek_to_end()
        # Until it answers it is still starting, which is no delay.
        await producer.send_and_wait(RELEASE_COMMANDS.name, **_record(place.commands([0])[0]))
        await eventually(partial(service.counted_at_least, place.name, 1), bool)
        listening = asyncio.create_task(_listen(answers, place.name, good_at, outcome.delays_s))
        due_s, number = time.monotonic(), 0
        while burst := list(itertools.islice(bad, _BURST)):
            for kind, wire in burst:
                outcome.sent[number] = (kind, wire)
                await _send(producer, wire, (_NUMBER, str(number).encode()))
                number += 1
                if number % _BAD_PER_GOOD == 0:
                    [wire] = place.commands([number])
                    good_at[f"1.{number}.0"] = time.monotonic()
                    await _send(producer, wire)
            due_s += len(burst) / _PER_SECOND
            await lasting(due_s - time.monotonic())
        await producer.flush()
        everything = before + 1 + number + len(good_at)
        await eventually(place.committed, lambda offsets: offsets == everything, within_s=600)
        await eventually(service.unsent, lambda unsent: unsent == 0, within_s=60)
        async with asyncio.timeout(60):
            await listening
        dead = await eventually(place.dead, lambda dead: len(dead) >= messages, within_s=60)
    await service.database.close()
    outcome.wrong = list(_compare(outcome.sent, dead, kinds))
    return outcome


@asynccontextmanager
async def _in_its_own_process(place: Place) -> AsyncIterator[None]:
    """The service, where we do not slow it down; without a log of every letter."""
    process = await asyncio.create_subprocess_exec(
        *program(place.name, place.url, place.settings), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


def _stream(kinds: Mapping[str, Poison]) -> Iterator[tuple[str, Wire]]:
    """One kind after another.

    There are few big ones, or they alone would fill the disk; and few that a handler stumbles over: those are
    well formed, and each breaks the batch that it is in.
    """
    count: Counter[str] = Counter()
    for kind, poison in itertools.cycle(kinds.items()):
        count[kind] += 1
        if count[kind] <= _FEW or (kind != _BUG and len(poison.record[1] or b"") < _BIG_BYTES):
            yield kind, poison.record


async def _send(producer: AIOKafkaProducer, wire: Wire, *more: tuple[str, bytes]) -> None:
    await producer.send(RELEASE_COMMANDS.name, **_record(wire, *more))


def _record(wire: Wire, *more: tuple[str, bytes]) -> dict[str, Any]:
    key, body, headers = wire
    return {"value": body, "key": key, "headers": [*headers, *more]}


async def _listen(
    answers: AIOKafkaConsumer, name: str, sent_at: dict[str, float], delays_s: list[float]
) -> None:
    """Ends when every good command that was sent has its event, and none was sent for a second."""
    waiting: set[str] = set()
    seen: set[str] = set()
    while True:
        polled = await answers.getmany(timeout_ms=1000)
        now = time.monotonic()
        for record in itertools.chain.from_iterable(polled.values()):
            if record.key != name.encode():
                continue
            version = ReleasePublished.model_validate_json(record.value).release.version
            if version in sent_at and version not in seen:
                seen.add(version)
                delays_s.append(now - sent_at[version])
        waiting = sent_at.keys() - seen
        if sent_at and not waiting and not polled:
            return


def _compare(
    sent: Mapping[int, tuple[str, Wire]], dead: list[Record], kinds: Mapping[str, Poison]
) -> Iterator[str]:
    """What is not as it should be, one line for each."""
    found: Counter[int] = Counter()
    for letter in dead:
        *original, mark = list(letter.headers)[:-_DEAD_HEADERS]
        number = int(mark[1] or b"-1")
        found[number] += 1
        kind, (key, body, headers) = sent[number]
        if (letter.key, letter.value, original) != (key, body, without_tokens(headers)):
            yield f"{number} ({kind}) is not as it was"
        if kinds[kind].because not in header(letter, "dead_reason"):
            yield f"{number} ({kind}) has another reason: {header(letter, 'dead_reason')}"
    for number, (kind, _) in sent.items():
        if found[number] != 1:
            yield f"{number} ({kind}) is among the dead letters {found[number]} times"


async def _alone(messages: int) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="upgradepath-malformed-") as name:
        folder = Path(name)
        postgres = EmbeddedPostgres(folder / "postgres")
        await asyncio.to_thread(postgres.start)
        try:
            async with kafka.ApacheKafka(folder / "kafka") as broker:
                settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
                await create_topics(settings)
                place = Place(settings, "")
                postgres.create_database(place.name)
                place.url = postgres.url(place.name)
                await place.prepare()
                return await flood(place, messages)
        finally:
            await asyncio.to_thread(postgres.stop)


def main() -> None:
    """Exits 0 when every dead letter is right and every good message is answered within a second."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.malformed", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    given = parser.parse_args()
    if (reason := kafka.availability()) is not None:
        print(f"this needs Apache Kafka: {reason}", file=sys.stderr)
        raise SystemExit(3)
    # It would write a line for each of them.
    logging.getLogger("shared").setLevel(logging.CRITICAL)
    outcome = asyncio.run(_alone(given.messages))
    print("\n".join(outcome.lines()))
    raise SystemExit(1 if outcome.wrong or max(outcome.delays_s) >= 1 else 0)


if __name__ == "__main__":
    main()
