"""The command line takes what documents tell people to type, and what they tell to write is read."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.main import app
from services.executor.clients.mask_file import read_masks

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "docs/adoption.md", "docs/packages.md")
_SPAN = re.compile(r"`(?:uv run )?upgradepath ([^`]+)`")
_LINE = re.compile(r"^(?:uv run )?upgradepath ([^#\n]+)", re.MULTILINE)
_OPTION = re.compile(r"`(--[a-z-]+)(?: [^`]*)?`")


def typed(document: str) -> Iterator[list[str]]:
    """Every command, as words; what stands for something else is given."""
    text = (ROOT / document).read_text("utf-8")
    for found in {*_SPAN.findall(text), *_LINE.findall(text)}:
        yield [word for word in shlex.split(found.replace("…", "it")) if not word.startswith("[")]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command, or group, that the words name, and the words behind its name."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while rest and hasattr(command, "commands"):
        name = rest.pop(0)
        assert name in command.commands, f"upgradepath {' '.join(words)}: there is no {name}"
        command = command.commands[name]
    return command, rest


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_command_of_a_document_is_one(document: str) -> None:
    commands = list(typed(document))
    assert commands
    for words in commands:
        command, rest = command_of(words)
        taken = {name for parameter in command.params for name in parameter.opts}
        options = [word.partition("=")[0] for word in rest if word.startswith("--")]
        assert set(options) <= taken, f"upgradepath {' '.join(words)}: {set(options) - taken}"


def test_each_option_of_adoption_is_one() -> None:
    command, _ = command_of(["project", "adopt"])
    taken = {name for parameter in command.params for name in parameter.opts}
    named = set(_OPTION.findall((ROOT / "docs/adoption.md").read_text("utf-8")))
    assert named >= {"--prisma", "--pin", "--applied", "--without", "--yes"}
    assert named <= taken


def test_the_mask_rules_of_the_document_are_read() -> None:
    text = (ROOT / "docs/adoption.md").read_text("utf-8")
    (sample,) = re.findall(r"```toml\n(\[User\].*?)```", text, re.DOTALL)
    assert read_masks(sample) == {
        ("User", "email"): "email",
        ("User", "born"): "date 365",
        ("User", "nickname"): "hash?",
    }
