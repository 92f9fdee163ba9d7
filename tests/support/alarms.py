"""Whether an alarm rings, judged by what a service has exported at one moment."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families

RULES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).resolve().parents[2] / "deploy" / "alarms.yaml").read_text()
)["groups"][0]["rules"]

_COMPARED = {">": operator.gt, "==": operator.eq, "<": operator.lt}
_MATCHES: dict[str, Callable[[str, str], bool]] = {
    "MatchOp.Equal": lambda found, wanted: found == wanted,
    "MatchOp.NotEqual": lambda found, wanted: found != wanted,
    "MatchOp.Re": lambda found, wanted: re.fullmatch(wanted, found) is not None,
    "MatchOp.NotRe": lambda found, wanted: re.fullmatch(wanted, found) is None,
}


def rings(alarm: str, exposition: str) -> bool:
    """Whether any rule of that name holds, once its `for` is over.

    Raises ValueError for a rule that compares two moments: one scrape cannot say.
    """
    rules = [rule for rule in RULES if rule["alert"] == alarm]
    if not rules:
        raise ValueError(f"there is no alarm {alarm}")
    return any(_holds(promql_parser.parse(rule["expr"]), exposition) for rule in rules)


def _holds(expression: Any, exposition: str) -> bool:
    compared = _COMPARED[str(expression.op)]
    return any(compared(value, expression.rhs.val) for value in _values(expression.lhs, exposition))


def _values(expression: Any, exposition: str) -> list[float]:
    match expression:
        case promql_parser.VectorSelector():
            return [sample.value for sample in _selected(expression, exposition)]
        case promql_parser.AggregateExpr() if str(expression.op) == "sum":
            by = expression.modifier.labels if expression.modifier else []
            sums: dict[tuple[str, ...], float] = {}
            for sample in _selected(expression.expr, exposition):
                group = tuple(sample.labels.get(label, "") for label in by)
                sums[group] = sums.get(group, 0) + sample.value
            return list(sums.values())
        case _:
            raise ValueError(f"{type(expression).__name__} cannot be judged by one scrape")


def _selected(selector: Any, exposition: str) -> list[Any]:
    return [
        sample
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == selector.name
        and all(
            _MATCHES[str(one.op)](sample.labels.get(one.name, ""), one.value)
            for one in selector.matchers.matchers
        )
    ]
