"""A session of the rig: a load of Runs, injections drawn from a seed, and the ledger at the end."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests.faults.injections import Kind, draw, inflict, lasting
from tests.faults.ledger import Ledger, audit
from tests.faults.load import Asked
from tests.faults.rig import UPGRADE, Rig

_IN_FLIGHT_MAX = 24
_SETTLED_WITHIN_S = 420.0
_REGISTERED_AT_ONCE = 40
_POLL_S = 0.05
_TOLD_EVERY = 50
_SLOWEST = 8
_CALM_EVERY = 4
_TOLD_S = 0.5
_SKEW_MAX_S = 2.0
"""By which the clocks of machines differ that nobody looks after."""


@dataclass
class Injection:
    """One harm; `probe` is a Run that was asked for at the moment when it began.

    One that is `calm` comes to a system at rest, and no other harm until its probe has ended: that time is
    its own. The others fall upon each other, and upon each other's Runs.
    """

    number: int
    kind: str
    what: str
    undone_s: float
    probe: Asked
    calm: bool

    @property
    def recovery_s(self) -> float | None:
        """From the end of the harm to the end of that Run, the Run's own work included."""
        return None if self.probe.ended_s is None else max(0.0, self.probe.ended_s - self.undone_s)

    def story(self) -> str:
        """Where that Run's time went, as far as it is more than half a second anywhere."""
        assert self.probe.run is not None
        told = [f"{self.recovery_s:.1f} s"]
        last: datetime | None = None
        for record in self.probe.run.stages:
            told += _if_long(f"before {record.stage}", last, record.started_at)
            last = record.finished_at
            told += _if_long(f"{record.stage} attempt {record.attempt}", record.started_at, last)
        return ", ".join(told)


def _if_long(what: str, begin: datetime | None, end: datetime | None) -> list[str]:
    took_s = 0.0 if begin is None or end is None else (end - begin).total_seconds()
    return [f"{what} {took_s:.1f} s"] if took_s > _TOLD_S else []


@dataclass
class Report:
    """What was done, how long it took to be well again, and what the ledger says."""

    seed: int
    alone_s: list[float]
    injections: list[Injection] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    runs: int = 0
    real_runs: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    helped: list[str] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)
    fired: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def recovery(self, *, calm: bool) -> str:
        """Of the injections whose Run has come to its end."""
        recoveries = [
            one.recovery_s for one in self.injections if one.calm is calm and one.recovery_s is not None
        ]
        return (
            f"{len(recoveries)} times, p50 {_quantile(recoveries, 0.5):.2f} s,"
            f" p99 {_quantile(recoveries, 0.99):.2f} s, longest {max(recoveries, default=0):.2f} s"
        )

    def _slowest(self, *, calm: bool) -> list[str]:
        well = [one for one in self.injections if one.calm is calm and one.recovery_s is not None]
        slowest = sorted(well, key=lambda one: -(one.recovery_s or 0))[:_SLOWEST]
        return [f"  {one.number:>5} {one.kind} ({one.what}): {one.story()}" for one in slowest]

    def lines(self) -> list[str]:
        """For people."""
        kinds: dict[str, list[float]] = defaultdict(list)
        for one in self.injections:
            kinds[one.kind].append(one.recovery_s if one.recovery_s is not None else float("inf"))
        return [
            f"seed {self.seed}: {len(self.injections)} injections over {self.runs} runs"
            f" ({self.real_runs} real) in {self.took_s:.0f} s",
            f"a run alone, nothing injected: p50 {_quantile(self.alone_s, 0.5):.2f} s",
            f"well again after an injection alone: {self.recovery(calm=True)}",
            *self._slowest(calm=True),
            f"well again amid others: {self.recovery(calm=False)}",
            *self._slowest(calm=False),
            *(
                f"  {kind:<22}{len(times):>5}   p50 {_quantile(times, 0.5):6.2f} s"
                f"   p99 {_quantile(times, 0.99):6.2f} s"
                for kind, times in sorted(kinds.items())
            ),
            f"ended as {self.statuses}; started {self.starts}",
            f"crash points fired: {len(self.fired)} of {len(self.passed)} that were passed",
            f"helped by people {len(self.helped)} times",
            *(f"  {line:.300}" for line in self.helped[:20]),
            f"{self.ledger.messages} messages, {self.ledger.repeats} of them repeats",
            f"lost {len(self.ledger.lost)}, doubled {len(self.ledger.doubled)},"
            f" stuck {len(self.ledger.stuck)}",
            *(f"  {line:.400}" for line in self.ledger.findings),
        ]


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


async def session(
    folder: Path,
    *,
    seed: int,
    injections: int,
    runs: int,
    real: int = 0,
    planned: Sequence[Kind] = (),
    within_s: float = math.inf,
    enough: asyncio.Event | None = None,
    faketime: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """At least `runs` Runs, with `real` Projects upgraded among them, while all that is injected.

    The kinds are the `planned` ones, or else drawn, for `within_s` at most and until `enough` is set.
    """
    rig = Rig(folder, faketime=faketime)
    chance = random.Random(seed)
    for clock in rig.clocks.values():
        clock.skew(chance.uniform(-_SKEW_MAX_S, _SKEW_MAX_S))
    began = time.monotonic()
    async with rig.running():
        await rig.register_no_ops(min(max(runs, injections), _REGISTERED_AT_ONCE) + 4)
        for number in range(real):
            await rig.register_real(f"real{number}")
        try:
            report = Report(seed, [await _alone(rig) for _ in range(3)])
            say(f"all is up after {time.monotonic() - began:.0f} s; {rig_says(rig)}")
            for project in rig.real:
                rig.load.ask(project, UPGRADE, undo=chance.random() < 0.5)
            end = time.monotonic() + within_s
            drawn = (draw(rig, chance) for _ in range(injections))
            over = (enough or asyncio.Event()).is_set
            kinds = iter(planned or itertools.takewhile(lambda _: time.monotonic() < end, drawn))
            await _inject(
                rig, chance, report, itertools.takewhile(lambda _: not over(), kinds), runs, over, say
            )
            rig.points.disarm(rig.points.waiting())
            say("no more injections; until everything is at rest")
            await rig.settled(_SETTLED_WITHIN_S)
            await at_rest(rig)
            report.ledger = await audit(rig)
        finally:
            await rig.take_down()
        _count(rig, report)
    report.took_s = time.monotonic() - began
    return report


def rig_says(rig: Rig) -> str:
    """What this machine does not allow."""
    kinds = {
        "disk full": rig.disk.mounted,
        "database clock jumps (no libfaketime was named)": bool(rig.database_time.variables),
    }
    missing = [name for name, there in kinds.items() if not there]
    return f"not possible here: {', '.join(missing)}" if missing else "every kind is possible here"


async def _alone(rig: Rig) -> float:
    asked = rig.load.ask(rig.spare.pop(), UPGRADE)
    await rig.load.until(lambda: asked.ended_s is not None, 120)
    assert asked.took_s is not None
    return asked.took_s


async def _inject(
    rig: Rig,
    chance: random.Random,
    report: Report,
    kinds: Iterator[Kind],
    runs: int,
    over: Callable[[], bool],
    say: Callable[[str], None],
) -> None:
    registering: asyncio.Task[None] | None = None
    for number in itertools.count():
        kind = next(kinds, None)
        if kind is None and (number >= runs or over()):
            break
        while len(_open(rig)) >= _IN_FLIGHT_MAX or not rig.spare:
            if not rig.spare and (registering is None or registering.done()):
                registering = asyncio.create_task(rig.register_no_ops(_REGISTERED_AT_ONCE))
            await asyncio.sleep(_POLL_S)
        calm = kind is not None and number % _CALM_EVERY == 0
        if calm:
            await rig.settled(_SETTLED_WITHIN_S)
        probe = rig.load.ask(rig.spare.pop(), UPGRADE)
        if kind is None:
            continue
        what = await inflict(rig, kind, chance)
        report.injections.append(Injection(number, kind.name, what, time.monotonic(), probe, calm))
        say(f"{number:>5} {kind.name}: {what}; {len(_open(rig))} runs under way")
        if len(report.injections) % _TOLD_EVERY == 0:
            say(f"      so far alone {report.recovery(calm=True)}; amid others {report.recovery(calm=False)}")
        await lasting(chance.choice((0.0, 0.1, 0.5)))
        if calm:
            await rig.settled(_SETTLED_WITHIN_S)
    if registering is not None:
        await registering


def _open(rig: Rig) -> list[Asked]:
    return [asked for asked in rig.load.asked.values() if asked.ended_s is None]


async def at_rest(rig: Rig) -> None:
    """Nothing is unsent and nothing unread, or the time is up: then the ledger names it."""
    for _ in range(60):
        found = await audit(rig)
        if not found.stuck:
            return
        await asyncio.sleep(1)


def _count(rig: Rig, report: Report) -> None:
    asked = list(rig.load.asked.values())
    report.runs = len(asked)
    report.real_runs = sum(one.project in rig.real for one in asked)
    for one in asked:
        status = one.run.status if one.run else "unknown"
        report.statuses[status] = report.statuses.get(status, 0) + 1
    report.helped = rig.load.helped
    report.starts = {name: kept.starts for name, kept in rig.processes.items()}
    report.passed, report.fired = rig.points.reached(), rig.points.fired()
