"""In what order checks run, and what their results mean. Pure."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from shared.contracts.facts import CheckResult, ChecksFacts
from shared.contracts.projects import (
    Check,
    CommandCheck,
    Environments,
    HttpCheck,
    LogCheck,
    SignOffCheck,
    SqlCheck,
)
from shared.contracts.stages import Errored, Failed, Finding, Outcome, Succeeded
from shared.contracts.tasks import ChecksTask
from shared.errors import Failure

_READING = ("GET", "HEAD")


def phases(checks: Mapping[str, Check]) -> tuple[tuple[str, ...], ...]:
    """The checks' names in groups: one group after another, those of a group at the same time.

    What may change something runs alone, in the order of its declaration; then what only reads; the log
    last, so that it also shows what the other checks have caused.
    """
    alone: list[tuple[str, ...]] = []
    together: list[str] = []
    last: list[str] = []
    for name, check in checks.items():
        match check:
            case CommandCheck():
                alone.append((name,))
            case HttpCheck() if check.method not in _READING:
                alone.append((name,))
            case HttpCheck() | SqlCheck() | SignOffCheck():
                together.append(name)
            case LogCheck():
                last.append(name)
    return tuple(group for group in (*alone, tuple(together), tuple(last)) if group)


def refuse_production_secrets(environments: Environments) -> None:
    """Checks see what staging names, so staging must not name production's database. Raises `Failure`."""
    production = environments.production.database
    named = {"database": environments.staging.database, **_variables(environments)}
    places = [place for place, reference in named.items() if reference == production]
    if places:
        raise Failure(
            f"staging names {production}, production's database, so no check may run",
            *(
                Finding(
                    kind="project-file",
                    subject=f"environments.staging.{place}",
                    detail=f"it is {production}, which is production's database too",
                    cure="give staging its own secret in upgradepath.toml, and register the project again",
                )
                for place in places
            ),
        )


def _variables(environments: Environments) -> dict[str, str]:
    return {f"variables.{name}": value for name, value in environments.staging.variables.items()}


def verdict(run_id: str, task: ChecksTask, results: Sequence[CheckResult]) -> ChecksFacts:
    """What the stage brings back when no check failed. Raises `Failure` that names those which did."""
    failed = [result for result in results if result.verdict == "failed"]
    if failed:
        _fail(run_id, failed, results)
    return ChecksFacts(stage=task.stage, commit=task.commit, results=tuple(results))


def _fail(run_id: str, failed: Sequence[CheckResult], results: Sequence[CheckResult]) -> NoReturn:
    names = ", ".join(result.name for result in failed)
    of_how_many = "the only check" if len(results) == 1 else f"{len(failed)} of {len(results)} checks"
    raise Failure(
        f"{of_how_many} failed: {names}",
        *(
            Finding(
                kind="check",
                subject=result.name,
                detail=result.detail,
                cure=f"push a fix to upgradepath/{run_id}, then: upgradepath run continue {run_id}",
            )
            for result in failed
        ),
        results=tuple(results),
    )


def results_of(outcome: Outcome) -> tuple[CheckResult, ...]:
    """Every check's result that an outcome carries."""
    match outcome:
        case Succeeded(facts=ChecksFacts() as facts):
            return facts.results
        case Failed():
            return outcome.results
        case Succeeded() | Errored():
            return ()
