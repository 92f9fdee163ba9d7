"""`python -m tests.faults.crash`: a process is killed at each crash point of an upgrade and its undoing.

A round publishes a release, registers Projects, upgrades one and undoes it, lets a stage err and be tried
again, and sends each service something malformed.

The names are listed in crash_points.txt, beside this file; `--write` adds those that were passed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local import kafka
from tests.faults.ledger import Ledger, audit
from tests.faults.program import STUMBLES
from tests.faults.rig import UPGRADE, Rig
from tests.faults.session import at_rest

LISTED = Path(__file__).with_name("crash_points.txt")
_ENDS_WITHIN_S = 1800.0
_ROUNDS_MAX = 8
_AT_A_START = {"free-leases", "left", "prune"}
"""Seams that a process comes by when it starts."""


@dataclass
class Sweep:
    """Which places were passed and which of them have killed somebody, and what the ledger says."""

    passed: list[str] = field(default_factory=list)
    fired: list[str] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    statuses: list[str] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    only: Sequence[str] = ()

    @property
    def never_fired(self) -> list[str]:
        return self.wanted(set(self.passed) - set(self.fired))

    def wanted(self, names: Iterable[str]) -> list[str]:
        """Those at which somebody is to be killed."""
        return sorted(name for name in names if not self.only or set(self.only) & set(name.split(".")))


def listed() -> list[str]:
    """The names that are known."""
    return LISTED.read_text().splitlines()


async def sweep(
    folder: Path, say: Callable[[str], None], rounds: int = _ROUNDS_MAX, only: Sequence[str] = ()
) -> Sweep:
    """First nothing happens; then every place is armed, and the same is done until all have fired.

    With `only` it is those alone whose seam is named there: of who has added some.
    """
    found = Sweep(only=only)
    rig = Rig(folder)
    async with rig.running():
        project = await rig.register_real("sweep")
        try:
            for number in range(1 + rounds):
                before = rig.points.fired()
                await _round(rig, project, number, found)
                fired = len(rig.points.fired()) - len(before)
                # Those that are only passed after a kill are known from the list before anybody passes.
                names, passed = sorted({*rig.points.reached(), *listed()}), len(rig.points.reached())
                say(f"round {number}: {found.took_s[-1]:.0f} s, {fired} new kills, {passed} places passed")
                left = found.wanted(set(names) - set(rig.points.fired()))
                if not left or number == rounds:
                    break
                # A kill on the way may spare a place, and another is only passed after one: both are tried.
                rig.points.arm(*(left if fired or number == 0 else _and_what_leads_there(left, names)))
            rig.points.disarm(rig.points.waiting())
            await at_rest(rig)
            found.ledger = await audit(rig)
        finally:
            await rig.take_down()
        found.passed, found.fired = rig.points.reached(), rig.points.fired()
    return found


def _and_what_leads_there(left: Sequence[str], names: Sequence[str]) -> list[str]:
    """Some places are only passed after a kill at another of the same stage: those are armed once more.

    Who is killed just before it sends leaves something in its outbox, and starts again.
    """
    stages = {_stage(name) for name in left}
    again = {
        f"{name.partition('.')[0]}.produce.before" for name in left if _AT_A_START & set(name.split("."))
    }
    return [name for name in names if name in left or name in again or _stage(name) in stages]


def _stage(name: str) -> tuple[str, ...]:
    return tuple(name.split(".")[:2])


async def _round(rig: Rig, project: str, number: int, found: Sweep) -> None:
    began = time.monotonic()
    asked = [rig.load.ask(project, UPGRADE, undo=True)]
    await rig.send_malformed()
    await rig.publish_patch(number)
    await rig.register_no_ops(1, kind=STUMBLES)
    asked.append(rig.load.ask(rig.spare.pop(), UPGRADE))
    await rig.load.until(lambda: all(one.ended_s is not None for one in asked), _ENDS_WITHIN_S)
    found.took_s.append(time.monotonic() - began)
    for one in asked:
        assert one.run is not None
        found.statuses.append(f"{one.run.status} after {len(one.run.stages)} stages")


def write(names: Iterable[str]) -> None:
    LISTED.write_text("".join(f"{name}\n" for name in sorted(names)))


def main() -> None:
    """Exits 0 when every place that is listed has killed somebody, and the books are right."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crash", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the list anew")
    parser.add_argument("--rounds", type=int, default=_ROUNDS_MAX, help="at most; 0 kills nobody")
    parser.add_argument("--only", nargs="*", default=[], help="kill at these seams alone: lease, prune, …")
    parser.add_argument("--keep", type=Path, default=None, help="where logs and data stay")
    given = parser.parse_args()
    if (reason := kafka.availability()) is not None:
        print(f"the rig needs Apache Kafka: {reason}", file=sys.stderr)
        raise SystemExit(3)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="upgradepath-faults-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = asyncio.run(sweep(folder, lambda line: print(line, flush=True), given.rounds, given.only))
    if given.write:
        write({*listed(), *found.passed})
    not_passed = found.wanted(set(listed()) - set(found.passed))
    unlisted = sorted(set(found.passed) - set(listed()))
    print(f"the runs ended as {found.statuses}")
    print(f"{len(found.fired)} of {len(found.passed)} places have killed a process")
    titles = {"not passed": not_passed, "never killed": found.never_fired, "not listed": unlisted}
    for title, names in titles.items():
        print("".join(f"{title}: {name}\n" for name in names), end="")
    print("\n".join(found.ledger.findings) or "nothing lost, doubled or stuck")
    wrong = found.never_fired or not_passed or unlisted or found.ledger.findings
    raise SystemExit(1 if wrong and given.rounds else 0)


if __name__ == "__main__":
    main()
