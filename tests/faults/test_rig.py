"""A short session of the rig; the long one is `python -m tests.faults`, and takes an hour."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from local.kafka import availability
from tests.faults.crash import listed
from tests.faults.injections import KINDS
from tests.faults.session import session

SHORT = (
    "crash point",
    "clock jump",
    "SIGKILL",
    "shuffled duplicates",
    "clock jump",
    "rebalance",
    "duplicates",
    "crash point",
)


async def test_nothing_is_lost_doubled_or_stuck() -> None:
    if reason := availability():
        if os.environ.get("CI") == "true":
            pytest.fail(f"Apache Kafka: {reason}")
        pytest.skip(f"Apache Kafka: {reason}")
    kinds = {kind.name: kind for kind in KINDS}
    with TemporaryDirectory(prefix="upgradepath-faults-") as folder:
        report = await session(
            Path(folder), seed=5, injections=len(SHORT), runs=20, planned=[kinds[name] for name in SHORT]
        )
    assert report.ledger.findings == []
    assert report.statuses == {"succeeded": report.runs}
    # Who adds a place adds its name, and the sweep kills there.
    assert set(report.passed) <= set(listed())
