"""In which phases of a Run its executor is killed, and what was seen of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["goes on", "is undone", "fails"]


@dataclass(frozen=True)
class Phase:
    """What is under way when somebody dies. `effect` is what the journal calls it, if it is not the stage.

    `takes_s` is the least that it takes, and is measured as soon as nobody dies in it.
    """

    stage: str
    effect: str | None
    weight: float
    takes_s: float

    @property
    def name(self) -> str:
        return f"{self.stage}: {self.effect}" if self.effect else self.stage


_MIGRATE = Phase("migrate", None, 5, takes_s=4.0)
_EXPAND = Phase("deploy", "expand", 3, takes_s=1.5)
_CONTRACT = Phase("deploy", "contract", 1, takes_s=0.25)
_UNDO = Phase("roll-back", "undo migrations", 2, takes_s=0.8)
PHASES: Mapping[Kind, tuple[Phase, ...]] = {
    "goes on": (_MIGRATE, _EXPAND, _CONTRACT),
    "is undone": (_MIGRATE, _EXPAND, _CONTRACT, _UNDO),
    "fails": (_MIGRATE, _EXPAND, _UNDO),
}
STAGE_UNDER_WAY = """
    SELECT max(generation) FILTER (WHERE state = 'leased') AS by, bool_or(state = 'finished') AS over
    FROM jobs WHERE run_id = $1 AND stage = $2
"""
EFFECT_UNDER_WAY = """
    SELECT max(j.generation) FILTER (WHERE j.state = 'leased' AND e.generation = j.generation
        AND e.done_at IS NULL) AS by, bool_or(j.state = 'finished' OR e.done_at IS NOT NULL) AS over
    FROM jobs j LEFT JOIN effects e ON (e.run_id, e.fence, e.name) = (j.run_id, j.fence, $3)
    WHERE j.run_id = $1 AND j.stage = $2
"""


@dataclass
class Tally:
    """What was done and seen. `late` kills would have come after the end of their phase, and do not count."""

    kills: dict[str, int] = field(default_factory=dict)
    late: int = 0
    runs: dict[Kind, int] = field(default_factory=dict)
    again_s: list[float] = field(default_factory=list)
    """From a kill to the moment when the same stage is worked on again, the start of the process included."""
    over_s: list[float] = field(default_factory=list)
    """From the last kill in a phase to its end, the work that was left included."""
    ends_s: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    """How long whole Runs took, those in which somebody was killed and the others."""
    faults: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        return sum(self.kills.values())

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.killed} kills in {sum(self.runs.values())} runs ({self.late} more were too late)",
            f"by phase: {self.kills}; by what became of the run: {self.runs}",
            f"from a kill to work on the same stage again: {told(self.again_s)}",
            f"from the last kill in a phase to its end: {told(self.over_s)}",
            f"whole runs with kills: {told(self.ends_s[True])}; without: {told(self.ends_s[False])}",
            f"{len(self.faults)} faults",
            *self.faults,
        ]


def told(seconds: Iterable[float]) -> str:
    ordered = sorted(seconds)
    if not ordered:
        return "never"
    return f"median {ordered[len(ordered) // 2]:.1f} s, longest {ordered[-1]:.1f} s ({len(ordered)} times)"
