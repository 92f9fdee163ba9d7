"""What goes wrong, drawn from a seed: each kind does its harm, undoes it, and says what it did."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from shared.contracts.topics import (
    EXECUTOR_COMMANDS,
    PROJECT_EVENTS,
    RELEASE_EVENTS,
    RUN_COMMANDS,
    RUN_EVENTS,
    STAGE_RESULTS,
    VALIDATOR_COMMANDS,
    VERSION_MAP_COMMANDS,
    VERSION_MAP_EVENTS,
)
from shared.messaging.record import Record
from shared.messaging.topic_reader import read_topic
from tests.faults.groups import groups
from tests.faults.rig import PROCESSES, Rig

Harm = Callable[[Rig, random.Random], Awaitable[str]]

# Commands of releases and Projects are not repeated: there are few, and long ago.
_REPEATED = (
    RELEASE_EVENTS,
    PROJECT_EVENTS,
    VERSION_MAP_COMMANDS,
    VERSION_MAP_EVENTS,
    RUN_COMMANDS,
    RUN_EVENTS,
    EXECUTOR_COMMANDS,
    VALIDATOR_COMMANDS,
    STAGE_RESULTS,
)
_REPEATS_MAX = 200
_WITHIN_S = 60.0
_TRIES_MAX = 20
_JUMPS_S = (-7200, -3600, -60, 60, 3600, 7200)


@dataclass(frozen=True)
class Kind:
    """One way to do harm; of `weight` in the sum of all weights are of this kind."""

    name: str
    weight: int
    harm: Harm
    # What the machine must let us do; none: nothing special.
    possible: Callable[[Rig], bool] = lambda _: True


async def lasting(for_s: float) -> None:
    """How long a harm lasts is part of it: no condition could end it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await asyncio.Event().wait()


async def kill(rig: Rig, chance: random.Random) -> str:
    victims = chance.sample(PROCESSES, chance.choice((1, 1, 1, 2)))
    for name in victims:
        rig.processes[name].send_signal(signal.SIGKILL)
    return ", ".join(victims)


async def freeze(rig: Rig, chance: random.Random) -> str:
    """Sometimes for longer than a session at the broker, or a lease, lasts."""
    name, for_s = chance.choice(PROCESSES), chance.choice((0.3, 1.0, 2.0, 7.0))
    rig.processes[name].send_signal(signal.SIGSTOP)
    await lasting(for_s)
    rig.processes[name].send_signal(signal.SIGCONT)
    return f"{name} for {for_s:g} s"


async def crash_point(rig: Rig, chance: random.Random) -> str:
    """A place that was passed before, and that somebody passes again soon."""
    names = rig.points.reached()
    if not names:
        return "none was reached yet"
    name = chance.choice(names)
    rig.points.arm(name)
    return name


async def broker_outage(rig: Rig, chance: random.Random) -> str:
    for_s = chance.choice((0.0, 1.0, 3.0))
    await rig.kafka.kill()
    await lasting(for_s)
    await rig.kafka.start()
    return f"for {for_s:g} s"


async def database_crash(rig: Rig, chance: random.Random) -> str:
    for_s = chance.choice((0.0, 1.0, 3.0))
    await rig.kill_postgres()
    await lasting(for_s)
    await rig.start_postgres()
    return f"for {for_s:g} s"


async def rebalance(rig: Rig, chance: random.Random) -> str:
    """A second member comes, takes its share of the partitions, handles nothing, and goes."""
    service, topic = chance.choice(groups())
    member = AIOKafkaConsumer(
        topic.name,
        bootstrap_servers=rig.settings.bootstrap_servers,
        group_id=topic.group(service),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=rig.settings.session_timeout_ms,
    )
    try:
        async with asyncio.timeout(_WITHIN_S):
            await member.start()
            await member.getmany(timeout_ms=chance.choice((10, 500, 1500)))
    finally:
        await member.stop()
    return f"{topic.group(service)}"


async def duplicates(rig: Rig, chance: random.Random) -> str:
    """What was on a topic comes once more, in its order."""
    return await _send_again(rig, chance, shuffled=False)


async def shuffled(rig: Rig, chance: random.Random) -> str:
    """What was on a topic comes once more, in another order within each partition."""
    return await _send_again(rig, chance, shuffled=True)


async def _send_again(rig: Rig, chance: random.Random, *, shuffled: bool) -> str:
    topic = chance.choice(_REPEATED)
    records: list[Record] = [record async for record in read_topic(rig.settings, topic)]
    begin = chance.randrange(max(1, len(records)))
    again = records[begin : begin + chance.randint(1, _REPEATS_MAX)]
    if shuffled:
        chance.shuffle(again)
    producer = AIOKafkaProducer(
        bootstrap_servers=rig.settings.bootstrap_servers, acks="all", enable_idempotence=True
    )
    async with producer:
        for sent in [
            await producer.send(
                topic.name,
                value=record.value,
                key=record.key,
                partition=record.partition,
                headers=list(record.headers),
            )
            for record in again
        ]:
            await sent
    return f"{len(again)} of {topic.name}"


async def content_disk_full(rig: Rig, chance: random.Random) -> str:
    for_s = chance.choice((0.5, 2.0))
    await asyncio.to_thread(rig.disk.fill)
    await lasting(for_s)
    rig.disk.free()
    return f"for {for_s:g} s"


async def database_disk_full(rig: Rig, chance: random.Random) -> str:
    """PostgreSQL may end over this; then somebody starts it again."""
    for_s = chance.choice((0.5, 2.0))
    await asyncio.to_thread(rig.database_disk.fill)
    await lasting(for_s)
    rig.database_disk.free()
    ended = not rig.postgres.running
    if ended:
        await rig.kill_postgres()
        await rig.start_postgres()
    return f"for {for_s:g} s{', it ended and was started again' if ended else ''}"


async def clock_jump(rig: Rig, chance: random.Random) -> str:
    """The clock of one process, or of all, is set; soon it is set right, or only when one jumps again."""
    names = chance.choice((PROCESSES, (chance.choice(PROCESSES),)))
    offset_s, for_s = chance.choice(_JUMPS_S), chance.choice((0.5, 2.0, None))
    for name in PROCESSES:
        rig.clocks[name].jump(offset_s if name in names else 0)
    if for_s is not None:
        await lasting(for_s)
        for name in names:
            rig.clocks[name].jump(0)
    whose = "all clocks" if len(names) > 1 else f"the clock of {names[0]}"
    return f"{whose} {offset_s:+d} s{'' if for_s is None else f' for {for_s:g} s'}"


async def database_clock_jump(rig: Rig, chance: random.Random) -> str:
    """The time of the database is set, and later set right."""
    offset_s, for_s = chance.choice(_JUMPS_S), chance.choice((1.5, 3.0))
    rig.database_time.jump(offset_s)
    await lasting(for_s)
    rig.database_time.jump(0)
    return f"{offset_s:+d} s for {for_s:g} s"


async def malformed(rig: Rig, _: random.Random) -> str:
    await rig.send_malformed()
    return "something to each service"


KINDS: tuple[Kind, ...] = (
    Kind("SIGKILL", 22, kill),
    Kind("SIGSTOP and SIGCONT", 14, freeze),
    Kind("crash point", 20, crash_point),
    Kind("rebalance", 12, rebalance),
    Kind("duplicates", 12, duplicates),
    Kind("shuffled duplicates", 8, shuffled),
    Kind("malformed", 4, malformed),
    Kind("broker outage", 4, broker_outage),
    Kind("database crash", 4, database_crash),
    Kind("content disk full", 2, content_disk_full, lambda rig: rig.disk.mounted),
    Kind("database disk full", 1, database_disk_full, lambda rig: rig.database_disk.mounted),
    Kind("clock jump", 8, clock_jump),
    Kind("database clock jump", 2, database_clock_jump, lambda rig: bool(rig.database_time.variables)),
)


def draw(rig: Rig, chance: random.Random) -> Kind:
    """The next kind, among those that this machine allows."""
    kinds = [kind for kind in KINDS if kind.possible(rig)]
    return chance.choices(kinds, [kind.weight for kind in kinds])[0]


async def inflict(rig: Rig, kind: Kind, chance: random.Random) -> str:
    """Do it. What the broker refuses meanwhile, because of an earlier harm, is tried again."""
    tries = 0
    while True:
        try:
            return await kind.harm(rig, chance)
        except (KafkaError, OSError, TimeoutError):
            tries += 1
            if tries > _TRIES_MAX:
                raise
        await asyncio.sleep(0.5)
