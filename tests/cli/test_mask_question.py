"""Adoption asks a person, at a terminal, whether its proposed mask rules are right."""

import os
import sys
from collections.abc import Iterator

import pytest
import typer

from cli.adopt import _confirmed
from cli.adoption.masks import Proposal

PROPOSALS = [
    Proposal("User", "email", "email", "named so"),
    Proposal("User", "note", "hash", "it may hold anything"),
]


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where a person types; the program's standard input is that terminal."""
    typing, terminal = os.openpty()
    with os.fdopen(terminal, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield typing
    os.close(typing)


@pytest.mark.parametrize(
    ("typed", "right"),
    [(b"y\n", True), (b"Yes\n", True), (b"n\n", False), (b"\n", False), (b"perhaps\ny\n", True)],
)
def test_only_a_yes_of_a_person_confirms_the_rules(
    keyboard: int, capsys: pytest.CaptureFixture[str], typed: bytes, right: bool
) -> None:
    os.write(keyboard, typed)
    assert _confirmed(PROPOSALS, yes=False, quiet=False) is right
    shown = capsys.readouterr()
    assert "mask      User.email: email (named so)" in shown.out
    assert "mask      User.note: hash (it may hold anything)" in shown.out
    assert "Are these 2 mask rules right? [y/N]" in shown.err


def test_who_ends_the_question_has_confirmed_nothing(keyboard: int) -> None:
    os.write(keyboard, b"\x04")
    with pytest.raises(typer.Abort):
        _confirmed(PROPOSALS, yes=False, quiet=False)


def test_nobody_is_asked_by_a_script_by_json_or_for_nothing(
    keyboard: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _confirmed(PROPOSALS, yes=True, quiet=False)
    assert not _confirmed(PROPOSALS, yes=False, quiet=True)
    assert not _confirmed([], yes=False, quiet=False)
    with open(os.devnull) as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        assert not _confirmed(PROPOSALS, yes=False, quiet=False)
    assert "Are these" not in capsys.readouterr().err
