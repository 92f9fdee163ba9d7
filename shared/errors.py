"""Errors are decisions for the caller: an error's class says what to do about it."""

from collections.abc import Callable

from shared.contracts.facts import CheckResult
from shared.contracts.refusals import Refusal
from shared.contracts.stages import Failed, Finding
from shared.quoted_rows import forget_rows

_REFUSALS_MAX = 100
"""Of one answer: a file may have ten thousand mistakes, and nobody reads them all."""


class Reject(Exception):
    """The domain says no, with every reason. A handler that raises it has changed nothing."""

    def __init__(self, *refusals: Refusal) -> None:
        told = refusals[:_REFUSALS_MAX]
        super().__init__("; ".join(refusal.reason for refusal in told))
        self.refusals = told

    def __reduce__(self) -> tuple[type["Reject"], tuple[Refusal, ...]]:
        return type(self), self.refusals


class Retry(Exception):
    """It could not be found out now; the same again may succeed.

    When it did not after every try, whoever `findings` are about is asked: the Project's maintainer. Without
    them it is nobody's fault but ours, and an SRE is asked.
    """

    def __init__(self, reason: str, *findings: Finding) -> None:
        super().__init__(reason)
        self.findings = findings

    def __reduce__(self) -> "tuple[type[Retry], tuple[object, ...]]":
        return type(self), (*self.args, *self.findings)


class Failure(Exception):
    """A stage's verdict is no. It is never retried by itself."""

    def __init__(self, reason: str, *findings: Finding, results: tuple[CheckResult, ...] = ()) -> None:
        super().__init__(reason)
        self.outcome = Failed(reason=reason, findings=findings, results=results)

    def __reduce__(self) -> tuple[Callable[[Failed], "Failure"], tuple[Failed]]:
        return _failure, (self.outcome,)


def _failure(outcome: Failed) -> Failure:
    return Failure(outcome.reason, *outcome.findings, results=outcome.results)


def told(error: BaseException) -> str:
    """The error's words, without values of rows; one without words says what kind it is."""
    forget_rows(error)
    said = str(error).strip()
    if said:
        return said
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__


class Stale(Exception):
    """A newer fence or generation holds the resource: this worker must stop and answer nothing."""


def invalid(reason: str, *, field: str, value: object = None, cure: str) -> Reject:
    return _reject("invalid", reason, field, value, cure)


def not_found(reason: str, *, field: str, value: object = None, cure: str) -> Reject:
    return _reject("not-found", reason, field, value, cure)


def forbidden(reason: str, *, field: str = "actor", value: object = None, cure: str) -> Reject:
    return _reject("forbidden", reason, field, value, cure)


def conflict(reason: str, *, field: str | None = None, value: object = None, cure: str) -> Reject:
    return _reject("conflict", reason, field, value, cure)


def _reject(kind: str, reason: str, field: str | None, value: object, cure: str) -> Reject:
    text = None if value is None else str(value)
    return Reject(
        Refusal.model_validate({"kind": kind, "reason": reason, "field": field, "value": text, "cure": cure})
    )
