"""An answer that no topic takes would be made again and again: it is cut, or becomes a verdict."""

import json
from pathlib import Path

from shared.contracts.stages import Errored, Failed, Finding, StageFinished, Succeeded
from shared.jobs.fitting import that_fits
from shared.storage.database import BODY_BYTES_MAX

GOLDEN = Path(__file__).parents[1] / "contracts" / "golden"


def _rolled_back() -> StageFinished:
    return StageFinished.read((GOLDEN / "StageFinished.v1.roll-back-succeeded.json").read_bytes())


def test_what_fits_stays_as_it_is() -> None:
    result = _rolled_back()
    assert that_fits(result) is result


def test_findings_are_cut_until_they_fit() -> None:
    finding = Finding(kind="migration", subject="a.sql", detail="x" * 8000, cure="correct it")
    outcome = Failed(reason="no", findings=(finding,) * 3000)
    cut = that_fits(_rolled_back().model_copy(update={"outcome": outcome}))
    assert isinstance(cut.outcome, Failed)
    assert len(cut.outcome.findings) == 100
    assert cut.outcome.reason == "no (and 2900 more findings)"
    assert len(cut.body()) < BODY_BYTES_MAX


def test_what_was_written_to_production_stays_what_happened() -> None:
    """A rollback and a deploy that had much to tell were answered as failed, and production was written."""
    step = {"name": "a", "detail": "\x01" * 3000, "duration_ms": 1}
    proof = {"what": "x" * 1000, "before": "a" * 1000, "now": "a", "same": True}
    deployed = {"commit": "a" * 40, "production_schema": "b" * 64, "backup": "c" * 64, "address": "http://a"}
    facts: dict[str, dict[str, object]] = {
        "roll-back": {"proof": [proof] * 1999 + [proof | {"same": False}], "steps": [step] * 900},
        "deploy": {**deployed, "steps": [step] * 900},
        "record": {"removed": ["x" * 5000] * 900},
    }
    for stage, told in facts.items():
        cut = that_fits(_succeeded(stage, told))
        assert len(cut.body()) < BODY_BYTES_MAX
        assert isinstance(cut.outcome, Succeeded)
        assert "more" in cut.body().decode()
        for name in ("commit", "production_schema", "backup", "address"):
            assert getattr(cut.outcome.facts, name, None) == told.get(name)
        same = [each.same for each in getattr(cut.outcome.facts, "proof", ())]
        assert same.count(False) == (stage == "roll-back")


def test_no_check_is_left_out_that_waits_for_a_person() -> None:
    result = {"name": "a", "kind": "sign-off", "verdict": "needs-sign-off", "detail": "y" * 9000}
    results = [result | {"name": f"a{number}", "duration_ms": 1} for number in range(300)]
    cut = that_fits(_succeeded("validate", {"commit": "a" * 40, "results": results}))
    assert isinstance(cut.outcome, Succeeded)
    assert [each.name for each in getattr(cut.outcome.facts, "results", ())] == [
        each["name"] for each in results
    ]


def test_a_review_that_does_not_fit_is_a_verdict_with_its_cure() -> None:
    """A plan without all of its files would be approved for less than it does."""
    file = {"path": "x" * 1000, "change": "added"}
    facts = {"head": "a" * 40, "production_schema": "b" * 64, "diff": "c" * 64, "files": [file] * 2000}
    nothing: dict[str, object] = {"notes": {}, "config": [], "migrations": [], "rules": []}
    refused = that_fits(_succeeded("review", facts | nothing))
    assert isinstance(refused.outcome, Failed)
    assert refused.outcome.findings[0].cure.startswith("upgrade fewer Systems")


def test_an_error_stays_one_and_keeps_its_backup() -> None:
    outcome = Errored(reason="x" * 2_000_000, touched_production=True, backup="a" * 64)
    cut = that_fits(_rolled_back().model_copy(update={"outcome": outcome})).outcome
    assert isinstance(cut, Errored)
    assert (cut.touched_production, cut.backup, len(cut.reason)) == (True, "a" * 64, 1000)


def _succeeded(stage: str, facts: dict[str, object]) -> StageFinished:
    values = json.loads(_rolled_back().body()) | {"stage": stage}
    values["outcome"]["facts"] = {"stage": stage, **facts}
    return StageFinished.read(json.dumps(values).encode())
