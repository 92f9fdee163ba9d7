"""The command line against a small server, in a folder of its own, untouched by the outer environment."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from tests.cli.small_services import TOKENS, Services, serve

Type = Callable[..., Result]


@pytest.fixture(scope="session")
def running() -> Iterator[Services]:
    with serve(Services()) as services:
        yield services


@pytest.fixture
def services(running: Services) -> Services:
    """The small server, with nothing in it yet."""
    running.forget()
    return running


@pytest.fixture
def world(services: Services, tmp_path: Path) -> Path:
    """The folder of a dev world that points to the small server."""
    folder = tmp_path / "world"
    folder.mkdir()
    (folder / "world.json").write_text(json.dumps({"url": services.url, "tokens": TOKENS}))
    return folder


@pytest.fixture
def upgradepath(world: Path) -> Type:
    """Type a command beside the world; keywords are environment variables."""

    def invoke(*arguments: str, typed: str | None = None, **environment: str | None) -> Result:
        variables: dict[str, str | None] = {
            "UPGRADEPATH_URL": None,
            "UPGRADEPATH_TOKEN": None,
            "UPGRADEPATH_WORLD": str(world),
            "FORCE_COLOR": None,
            "TERM": "xterm-256color",
            "COLUMNS": "160",
            **environment,
        }
        return CliRunner().invoke(app, list(arguments), input=typed, env=variables)

    return invoke
