"""The README is true: each command in it is run, in its order, by somebody who has nothing but the README."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app
from local import example
from local.broker import EmbeddedBroker
from local.ports import free_port
from local.process import Child
from local.world import HOST, World
from shared.contracts.topics import SERVICES
from tests.conftest import PostgresServer
from tests.support.system import processes_in

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
UPGRADEPATH = Path(sys.executable).with_name("upgradepath")
_WITHIN_S = 120.0
_STOP_WITHIN_S = 20.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Typed:
    """One line of the README, as we expect it: how it ends, what it says, and what is answered to it."""

    line: str
    code: int = 0
    says: str = ""
    answer: str = ""
    patient: bool = False
    """A person who does not see it yet looks again."""


WAITS = 1
"""The exit code of a Run that is followed, and waits for a person."""

STORY = (
    Typed("release check examples/systems/auth-system/1.3.0", says="auth-system 1.3.0"),
    Typed("release publish examples/systems/auth-system/1.3.0", says="published auth-system 1.3.0"),
    Typed("release list", says="quote-engine"),
    Typed("schema check FOLDER", says="ok: one schema of 8 blocks"),
    Typed(
        "project register FOLDER --repository URL --approver mira@acme.example --single-person",
        says="SINGLE-PERSON",
    ),
    Typed("inbox acme-portal", says="auth-system 1.3.0", patient=True),
    Typed("plan create acme-portal auth-system --wait", says="upgradepath run start run-"),
    Typed("run start RUN --watch", WAITS, says="sign-off of staging-looks-right"),
    Typed("run sign-off RUN staging-looks-right --watch", WAITS, says="sign-off of partner-sign-off"),
    Typed("run sign-off RUN partner-sign-off --watch", WAITS, says="waits for approver"),
    Typed("run approve RUN --watch", says="succeeded", answer="y\n"),
    Typed("version-map show acme-portal", says="auth-system: 1.3.0 (updated)"),
    Typed("doctor", says="embedded PostgreSQL"),
    Typed("topics list", says="upgrades.run.events.v1"),
    Typed("topics lag", says="partition"),
    Typed("topics dead", says="there are no dead letters"),
    Typed("topics tail upgrades.run.events.v1", says="RunChanged"),
    Typed('freeze on --reason "the payment provider is down"', says="frozen"),
    Typed('freeze off --reason "it is back"', says="not frozen"),
)
PROCESSES = ("dev", "topics create", "service registry --port 8081")
PICTURES = ("Library ── PublishRelease", "auth-system: 1.3.0 (updated)")
"""How the fenced blocks begin in which nothing is to be typed."""
MAKE = ("make demo", "make test")


def command_lines() -> list[str]:
    """Every line of the fenced blocks that are no pictures, without its comment."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    typed = [block.splitlines() for block in blocks if not block.startswith(PICTURES)]
    return [re.sub(r"\s+#.*", "", line).strip() for lines in typed for line in lines if line.strip()]


def inline_commands() -> Iterator[list[str]]:
    """Commands that stand in the text and in the tables: `upgradepath dev`, `run retry RUN`, …"""
    names = {name for name, _ in _commands()}
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`([^`\n]+)`", prose):
        words = span.removeprefix("upgradepath ").split()
        if span.startswith("upgradepath ") or (len(words) > 1 and words[0] in names):
            yield words


def _commands() -> Iterator[tuple[str, bool]]:
    yield from ((command.name or "", False) for command in app.registered_commands)
    yield from ((str(group.name), True) for group in app.registered_groups)


def test_every_command_of_the_readme_is_known_here() -> None:
    upgradepath = [typed.line for typed in STORY]
    known = {*MAKE, *(f"uv run upgradepath {line}" for line in (*upgradepath, *PROCESSES))}
    assert set(command_lines()) == known


def test_the_story_has_the_order_of_the_readme() -> None:
    story = [f"uv run upgradepath {typed.line}" for typed in STORY]
    assert [line for line in command_lines() if line in story] == story


def test_what_is_made_is_in_the_makefile_and_every_change_must_pass_it() -> None:
    named = {*command_lines(), *re.findall(r"`(make [a-z]+)`", README)}
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci/run").read_text().splitlines()
    for line in sorted(line for line in named if line.startswith("make ")):
        assert re.search(rf"^{line.removeprefix('make ')}:", makefile, re.MULTILINE), line
    assert {"make check", *MAKE} <= set(ci)


def test_the_command_is_called_upgradepath() -> None:
    assert 'upgradepath = "cli.main:main"' in (ROOT / "pyproject.toml").read_text()
    assert UPGRADEPATH.is_file()


@pytest.mark.parametrize("words", list(inline_commands()), ids=" ".join)
def test_the_command_line_knows_what_the_text_names(words: list[str]) -> None:
    groups = {name for name, is_group in _commands() if is_group}
    command = words[: 2 if words[0] in groups else 1]
    asked = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert asked.exit_code == 0, asked.output
    for option in (word for word in words if word.startswith("--")):
        assert option in asked.output


@pytest.fixture
async def newcomer() -> AsyncIterator[Path]:
    """The folder of somebody who has typed `upgradepath dev` there, beside the examples."""
    with TemporaryDirectory(prefix="upgradepath-readme-") as name:
        folder = Path(name)
        (folder / "examples").symlink_to(ROOT / "examples")
        dev = await asyncio.to_thread(
            Child, [str(UPGRADEPATH), "dev"], log=folder / "dev.log", cwd=folder, env=_environment({})
        )
        try:
            await _until(dev, "Ctrl-C stops it")
            yield folder
        finally:
            await asyncio.to_thread(dev.stop, signal.SIGTERM, patience_s=_STOP_WITHIN_S)
        assert not (folder / ".upgradepath" / "world.json").exists()
        assert processes_in(folder) == []


async def test_the_readme_from_top_to_bottom(newcomer: Path) -> None:
    world = World.open(newcomer / ".upgradepath")
    greeting = (newcomer / "dev.log").read_text()
    # On a slow machine it says meanwhile what takes long.
    assert re.match(r"(.* … \(\d+ s\)\n)*upgradepath runs at http://127\.0\.0\.1:", greeting)
    assert all(role in greeting for role in ("library", "maintainer", "sre"))
    for system, version in example.FIRST_RELEASES:
        await _type(Typed(f"release publish examples/systems/{system}/{version}"), {}, newcomer)
    announced = json.loads((world.folder / "world.json").read_text())
    acme = await example.set_up(world, announced["postgres"])
    placeholders = {"FOLDER": str(acme.checkout), "URL": str(acme.repository)}
    try:
        for typed in STORY:
            said = await _type(typed, placeholders, newcomer)
            if found := re.search(r"run start (run-[0-9a-f]+)", said):
                placeholders.setdefault("RUN", found[1])
    finally:
        await example.destroy(world, acme.checkout)


async def test_one_service_on_servers(postgres: PostgresServer, tmp_path: Path) -> None:
    """Topics are made, a service starts on them, answers, and ends when it is told to."""
    port = free_port()
    databases = {name: postgres.url("readme_registry") for name in SERVICES}
    postgres.create_database("readme_registry")
    world = World.open(tmp_path / "servers")
    async with EmbeddedBroker() as broker:
        variables = world.environment(broker.bootstrap_servers, databases, embedded=True)
        await _type(Typed("topics create", says="upgrades.run.events.v1"), {}, tmp_path, variables)
        service = await asyncio.to_thread(
            Child,
            [str(UPGRADEPATH), *f"service registry --port {port}".split()],
            log=tmp_path / "registry.log",
            cwd=tmp_path,
            env=_environment(variables),
        )
        try:
            assert await _health(service, port) == {"registry": "ok"}
            os.kill(service.pid, signal.SIGTERM)
            assert await asyncio.to_thread(service.wait, _STOP_WITHIN_S) == 0
        finally:
            service.kill()
    assert "Traceback" not in service.log.read_text()


async def _type(
    typed: Typed, placeholders: Mapping[str, str], folder: Path, variables: Mapping[str, str] | None = None
) -> str:
    """What the command says, once it has said and done what is expected of it."""
    words = [placeholders.get(word, word) for word in shlex.split(typed.line)]
    end = time.monotonic() + _WITHIN_S
    while True:
        process = await asyncio.create_subprocess_exec(
            str(UPGRADEPATH),
            *words,
            cwd=folder,
            env=_environment(variables or {}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(typed.answer.encode()), _WITHIN_S)
        said = output.decode()
        if typed.says in said or not typed.patient or time.monotonic() > end:
            break
    assert process.returncode == typed.code, f"{typed.line}\n{said}"
    assert typed.says in said, f"{typed.line}\n{said}"
    return said


async def _until(child: Child, words: str) -> None:
    """Returns when the child has said so."""
    end = time.monotonic() + _WITHIN_S
    while words not in child.log.read_text(errors="replace"):
        assert child.running, f"it ended{child.log_tail()}"
        assert time.monotonic() < end, f"it does not say {words!r}{child.log_tail()}"
        await asyncio.sleep(_POLL_S)


async def _health(child: Child, port: int) -> dict[str, str]:
    """What `/health` says as soon as anything answers there."""
    end = time.monotonic() + _WITHIN_S
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{port}", trust_env=False) as client:
        while True:
            try:
                report: dict[str, str] = (await client.get("/health")).raise_for_status().json()
            except httpx.TransportError:
                assert child.running, f"it ended{child.log_tail()}"
                assert time.monotonic() < end, f"it does not answer{child.log_tail()}"
                await asyncio.sleep(_POLL_S)
            else:
                return report


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Our own environment without what would lead to another system, and these."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("UPGRADE")}
    return ours | {"COLUMNS": "160"} | dict(variables)
