"""A short version of `python -m tests.faults.executor_kills`: killed in a migration, it ends by itself."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from local.kafka import availability
from tests.faults.executor_kills import hunt

KILLS = 5


async def test_a_run_whose_executor_is_killed_in_its_migrations_ends_by_itself() -> None:
    if reason := availability():
        if os.environ.get("CI") == "true":
            pytest.fail(f"Apache Kafka: {reason}")
        pytest.skip(f"Apache Kafka: {reason}")
    with TemporaryDirectory(prefix="upgradepath-kills-") as folder:
        tally = await hunt(Path(folder), KILLS, seed=3, measured=False)
    assert tally.faults == []
    assert tally.killed == KILLS
