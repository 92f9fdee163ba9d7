"""Laws of the order of checks and of their verdict."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.validator.domain import phases, results_of, verdict
from shared.contracts.facts import CheckResult, RecordFacts
from shared.contracts.projects import Check
from shared.contracts.stages import Errored, Failed, Succeeded
from shared.contracts.tasks import ChecksTask
from shared.errors import Failure

RUN = "run-0123456789ab"
KINDS: list[dict[str, Any]] = [
    {"kind": "command", "run": ["true"]},
    {"kind": "http", "path": "/"},
    {"kind": "http", "path": "/", "method": "POST"},
    {"kind": "sql", "query": "select 1", "expect": "1"},
    {"kind": "log", "absent": ["x"]},
    {"kind": "sign-off", "question": "ok?"},
]
checks = st.lists(st.sampled_from(KINDS), min_size=1, max_size=12).map(
    lambda kinds: TypeAdapter(dict[str, Check]).validate_python(
        {f"check-{number}": kind for number, kind in enumerate(kinds)}
    )
)
results = st.lists(st.sampled_from(["passed", "failed", "needs-sign-off"]), min_size=1, max_size=8).map(
    lambda verdicts: [
        CheckResult.model_validate(
            {"name": f"c-{n}", "kind": "sql", "verdict": said, "detail": f"saw {n}", "duration_ms": n}
        )
        for n, said in enumerate(verdicts)
    ]
)


def writes(check: Check) -> bool:
    return check.kind == "command" or (check.kind == "http" and check.method == "POST")


@given(checks)
def test_every_check_runs_once_writers_alone_and_in_order_logs_last(declared: dict[str, Check]) -> None:
    groups = phases(declared)
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted(declared)
    writers = [name for name in declared if writes(declared[name])]
    assert [group for group in groups if writes(declared[group[0]])] == [(name,) for name in writers]
    logs = tuple(name for name in declared if declared[name].kind == "log")
    assert names[len(names) - len(logs) :] == list(logs)
    assert names[: len(writers)] == writers


@given(results)
def test_a_stage_fails_exactly_when_a_check_does_and_keeps_every_result(seen: list[CheckResult]) -> None:
    task = ChecksTask.model_validate(
        {"stage": "validate", "commit": "c" * 40, "address": None, "checks": {"a": KINDS[0]}}
    )
    failed = [result for result in seen if result.verdict == "failed"]
    if not failed:
        facts = verdict(RUN, task, seen)
        assert facts.results == tuple(seen)
        assert results_of(Succeeded(facts=facts)) == tuple(seen)
        return
    with pytest.raises(Failure) as caught:
        verdict(RUN, task, seen)
    outcome = caught.value.outcome
    assert results_of(outcome) == tuple(seen)
    assert [(finding.kind, finding.subject, finding.detail) for finding in outcome.findings] == [
        ("check", result.name, result.detail) for result in failed
    ]
    assert all(result.name in outcome.reason for result in failed)
    assert all(f"upgradepath run continue {RUN}" in finding.cure for finding in outcome.findings)


def test_other_outcomes_have_no_results() -> None:
    assert results_of(Errored(reason="no")) == ()
    assert results_of(Failed(reason="no")) == ()
    assert results_of(Succeeded(facts=RecordFacts(removed=()))) == ()
