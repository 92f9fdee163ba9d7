"""Several questions of one table, answered by one pass over its rows. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from services.executor.domain.relation import Step


@dataclass(frozen=True)
class Counted:
    """In how many rows of `source`, known as `alias`, `expression` is true; with `values`, not null."""

    source: str
    alias: str
    expression: str
    values: bool = False

    @property
    def joins(self) -> bool:
        """Whether each row would ask a query of its own: PostgreSQL is quicker with that one alone."""
        return "select" in self.expression.lower()


def passes(counted: Sequence[Counted], steps: Mapping[str, Step | str]) -> list[tuple[int, ...]]:
    """Which of them, by their places, the same rows answer; who is alone is left out."""
    by_root: dict[str, list[int]] = {}
    for place, each in enumerate(counted):
        if not each.joins:
            by_root.setdefault(_road(each.source, steps)[0], []).append(place)
    return [tuple(places) for places in by_root.values() if len(places) > 1]


def one_pass(counted: Sequence[Counted], steps: Mapping[str, Step | str]) -> str:
    """A query with one row, a number for each; they must be of one of `passes`.

    Along the road from the table each answer is worked out where its question is asked, and carried on.
    """
    road = max((_road(each.source, steps) for each in counted), key=len)
    asked = sorted(enumerate(counted), key=lambda each: (road.index(each[1].source), each[1].alias))
    marks = {place: f'"answer {place + 1}"' for place in range(len(counted))}
    rows = road[0]
    carried: list[str] = []
    for source in road:
        step = steps.get(source)
        if source != road[0] and isinstance(step, Step):
            passed = "".join(f", {step.alias}.{mark}" for mark in carried)
            rows = f"({step.sql(rows, passed)})"
        here = [each for each in asked if each[1].source == source]
        for alias, group in groupby(here, key=lambda each: each[1].alias):
            found = {marks[place]: each.expression for place, each in group}
            chosen = ", ".join(f"({expression}) AS {mark}" for mark, expression in found.items())
            rows = f"(SELECT {alias}.*, {chosen} FROM {rows} AS {alias})"
            carried += found
    answers = (
        f"count({marks[place]})" if each.values else f"count(*) FILTER (WHERE {marks[place]})"
        for place, each in enumerate(counted)
    )
    return f"SELECT {', '.join(answers)} FROM {rows} AS asked"


def _road(source: str, steps: Mapping[str, Step | str]) -> tuple[str, ...]:
    """From where rows were last added or left out, through the steps that keep each at its place."""
    road = [source]
    while isinstance(step := steps.get(road[-1]), Step) and step.keeps_rows:
        road.append(step.source)
    return tuple(reversed(road))
