"""What a benchmark says, and how it is kept and shown."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Result:
    """One figure, the median of its repeats, and the least and the most of them.

    `floor` is in the same unit, `ratio` is value / floor; none where there is no floor.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None


def against(name: str, value: float, unit: str, floor: float) -> Result:
    return Result(name, value, unit, floor, value / floor)


def repeated(name: str, values: Sequence[float], unit: str, floor: float | None = None) -> Result:
    """The median of repeats, with the least and the most of them."""
    value = statistics.median(values)
    spread = (min(values), max(values)) if len(values) > 1 else None
    return Result(name, value, unit, floor, None if floor is None else value / floor, spread)


def write(results: Sequence[Result]) -> None:
    """Write `bench/results.json` and print the table."""
    RESULTS.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    table = Table("benchmark", "value", "from … to", "unit", "floor", "ratio", box=None, header_style="bold")
    for result in results:
        floor = "" if result.floor is None else f"{result.floor:,.1f}"
        ratio = "" if result.ratio is None else f"{result.ratio:.3f}"
        spread = "" if result.spread is None else " … ".join(f"{one:,.1f}" for one in result.spread)
        table.add_row(result.name, f"{result.value:,.1f}", spread, result.unit, floor, ratio)
    Console().print(table)
