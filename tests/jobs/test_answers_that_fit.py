"""An answer that no topic takes would be made again and again: it is cut, or becomes a verdict."""

import json
from pathlib import Path

from shared.contracts.stages import Failed, Finding, StageFinished
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


def test_facts_that_do_not_fit_are_a_verdict_with_its_cure() -> None:
    values = json.loads(_rolled_back().body())
    proof = {"what": "x" * 1000, "before": "a", "now": "a", "same": True}
    values["outcome"]["facts"]["proof"] = [proof] * 2000
    refused = that_fits(StageFinished.read(json.dumps(values).encode()))
    assert isinstance(refused.outcome, Failed)
    assert refused.outcome.findings[0].cure.startswith("upgrade fewer Systems")
