"""What must fail without its cure is there; `python -m tests.brokers.without_cures` takes minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers.without_cures import CURES

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", CURES)
def test_what_is_to_fail_is_there(name: str) -> None:
    for test in CURES[name].tests:
        path, _, function = test.partition("::")
        assert f"def {function}(" in (ROOT / path).read_text()
