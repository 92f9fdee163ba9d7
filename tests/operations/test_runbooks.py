"""What a runbook tells an SRE to type is there, with the options that it names."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app

RUNBOOKS = sorted((Path(__file__).resolve().parents[2] / "docs" / "runbooks").glob("*.md"))
_COMMAND = re.compile(r"upgradepath ((?:run|replay|topics|freeze|doctor)\b[^`\n]*)")


def _commands() -> Iterator[tuple[str, str]]:
    for path in RUNBOOKS:
        for words in _COMMAND.findall(path.read_text()):
            yield path.stem, words.strip()


@pytest.mark.parametrize(("runbook", "words"), list(_commands()))
def test_a_command_of_a_runbook_is_known(runbook: str, words: str) -> None:
    split = words.split()
    group = split[: 1 if split[0] == "doctor" else 2]
    asked = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "200"})
    assert asked.exit_code == 0, f"{runbook}: upgradepath {words}\n{asked.output}"
    for option in (word for word in split if word.startswith("--")):
        assert option in asked.output, f"{runbook}: upgradepath {words}"


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_every_other_runbook_that_is_named_is_there(path: Path) -> None:
    named = set(re.findall(r"`([a-z-]+\.md)`", path.read_text()))
    assert named <= {other.name for other in RUNBOOKS}
