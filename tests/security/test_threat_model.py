"""The threat model's every row names tests, and each of them is there and tests something."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "security.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| who |")
]


def test_every_row_is_shown_by_tests_that_are_there() -> None:
    """Catches a promise whose test was renamed or taken away, and one that never had any."""
    assert len(ROWS) > 15
    for who, has, can, cannot, shown in ROWS:
        assert all((who, has, can, cannot)), who
        named = re.findall(r"`(tests/[\w/]+\.py)`", shown)
        assert named, who
        for name in named:
            assert "def test_" in (ROOT / name).read_text(), f"{who}: {name}"


def test_what_is_promised_and_what_is_not_is_said() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    for heading in ("## Report", "## What is promised", "## What is not promised"):
        assert heading in text
    for name in re.findall(r"`(docs/[\w/.-]+)`", text):
        assert list(ROOT.glob(f"{name}*")), name
