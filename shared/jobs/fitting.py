"""Answers that a topic takes: one that is too large is cut, and its verdict stays.

Only before production was written may an answer become the verdict that it is too large: a review without all
of its migrations would be a plan that hides something.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from shared.contracts.facts import CheckResult, Facts, Proof, ReviewFacts, Step
from shared.contracts.json_shape import MESSAGE_VALUES_MAX, has_more_values
from shared.contracts.stages import Errored, Failed, Finding, StageFinished, Succeeded
from shared.storage.database import BODY_BYTES_MAX

# What the commit and the envelope may add.
_ROOM_BYTES = 4096
_VALUES_MAX = MESSAGE_VALUES_MAX - 100
_KEPT = ((100, 1000), (20, 200), (5, 50))
"""Of each list, and characters of each text: the first that fits is taken."""

_TEXTS = ("detail", "before", "now", "cure", "subject", "what")

_T = TypeVar("_T", Finding, CheckResult, Step, Proof)


def that_fits(result: StageFinished) -> StageFinished:
    """The result, or one that can be sent: otherwise the stage would be done again and again."""
    body = result.body()
    if _fits(body):
        return result
    for most, characters in _KEPT:
        cut = result.model_copy(update={"outcome": _cut(result.outcome, most, characters)})
        if _fits(cut.body()):
            return cut
    finding = Finding(
        kind="package",
        subject=result.stage,
        detail=(
            f"What the stage found has {len(body)} bytes, and a message takes {BODY_BYTES_MAX},"
            f" and {MESSAGE_VALUES_MAX} values."
        ),
        cure="upgrade fewer Systems or versions at once, or ask for a Release with smaller scripts",
    )
    touched = not isinstance(result.outcome, Succeeded) and result.outcome.touched_production
    backup = None if isinstance(result.outcome, Succeeded) else result.outcome.backup
    refused = Failed(
        reason="the stage's answer is too large",
        findings=(finding,),
        touched_production=touched,
        backup=backup,
    )
    return result.model_copy(update={"outcome": refused})


def _fits(body: bytes) -> bool:
    return len(body) <= BODY_BYTES_MAX - _ROOM_BYTES and not has_more_values(body, _VALUES_MAX)


def _cut(outcome: Succeeded | Failed | Errored, most: int, characters: int) -> Succeeded | Failed | Errored:
    if isinstance(outcome, Succeeded):
        return Succeeded(facts=_cut_facts(outcome.facts, most, characters))
    left = len(outcome.findings) - most
    changes: dict[str, Any] = {
        "reason": outcome.reason[:characters] + (f" (and {left} more findings)" if left > 0 else ""),
        "findings": _shorter(outcome.findings[:most], characters),
    }
    if isinstance(outcome, Failed):
        changes["results"] = _shorter(outcome.results, characters)
    return outcome.model_copy(update=changes)


def _cut_facts(facts: Facts, most: int, characters: int) -> Facts:
    """The facts with less to read. What the planner decides by is never cut: it would decide otherwise."""
    changes: dict[str, Any] = {}
    if isinstance(facts, ReviewFacts):
        return facts
    for name in ("removed", "refuted"):
        if len(told := getattr(facts, name, ())) > 0:
            changes[name] = (*(each[:characters] for each in told[:most]), *_more(len(told) - most))
    if steps := getattr(facts, "steps", ()):
        more = (Step(name=each, detail="", duration_ms=0) for each in _more(len(steps) - most))
        changes["steps"] = (*_shorter(steps[:most], characters), *more)
    if proof := getattr(facts, "proof", ()):
        same = all(each.same for each in proof[most:])
        rest = (Proof(what=each, before="", now="", same=same) for each in _more(len(proof) - most))
        changes["proof"] = (*_shorter(proof[:most], characters), *rest)
    if results := getattr(facts, "results", ()):
        # Each of them: one may wait for a person's word.
        changes["results"] = _shorter(results, characters)
    return facts.model_copy(update=changes)


def _more(left: int) -> Sequence[str]:
    return (f"… and {left} more, which one message does not take",) if left > 0 else ()


def _shorter(told: Sequence[_T], characters: int) -> tuple[_T, ...]:
    """With shorter texts; what they are about stays whole as far as a name goes."""
    return tuple(
        each.model_copy(update={name: text[:characters] for name, text in each if name in _TEXTS})
        for each in told
    )
