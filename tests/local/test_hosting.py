"""The world's hosting runs an app of any kind by its Procfile, and takes it away with all that it started."""

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from local.hosting import COMMANDS, Hosting, commands_for_checkout, hosting, open_account
from local.world import World

APP = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/" else 404)
        self.end_headers()
        self.wfile.write(os.environ["GREETING"].encode())

HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Page).serve_forever()
"""


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[World, Hosting]]:
    world = World.open(tmp_path / "world")
    async with hosting(world) as program:
        yield world, program


def checkout(folder: Path, procfile: str) -> Path:
    """A Project's checkout with the commands that `upgradepath hosting` writes."""
    for path, program in commands_for_checkout().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(program)
        (folder / path).chmod(0o755)
    (folder / "app.py").write_text(APP)
    (folder / "Procfile").write_text(procfile)
    return folder


def call(folder: Path, command: str, account: str, commit: str = "c1") -> subprocess.CompletedProcess[str]:
    """As the executor does it: the declared command in the checkout, with the environment's variables."""
    variables = {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "HOSTING_URL": account,
        "GREETING": f"Welcome to {commit}",
        "UPGRADEPATH_ENVIRONMENT": "production",
        "UPGRADEPATH_COMMIT": commit,
    }
    return subprocess.run(
        [folder / "hosting" / command], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def listens(address: str) -> bool:
    with socket.socket() as visitor:
        return visitor.connect_ex(("127.0.0.1", int(address.strip().rpartition(":")[2]))) == 0


async def test_an_app_with_a_procfile_lives_moves_on_and_goes(
    running: tuple[World, Hosting], tmp_path: Path
) -> None:
    account = open_account(running[0], "harbour")
    folder = checkout(tmp_path / "checkout", "release: true\nweb: python app.py\n")
    assert call(folder, "observe", account).stdout == ""
    first = call(folder, "activate", account)
    assert first.stdout.startswith("address=http://127.0.0.1:"), first.stderr
    again = call(folder, "activate", account)
    assert again.stdout == first.stdout
    assert call(folder, "observe", account).stdout == "c1\n"
    assert call(folder, "health", account).returncode == 0

    second = call(folder, "activate", account, "c2")
    address = second.stdout.strip().removeprefix("address=")
    async with httpx.AsyncClient(trust_env=False) as visitor:
        assert (await visitor.get(address)).text == "Welcome to c2"
    assert call(folder, "observe", account).stdout == "c2\n"
    assert not listens(first.stdout)

    assert call(folder, "destroy", account).returncode == 0
    assert call(folder, "observe", account).stdout == ""
    assert not listens(address)


@pytest.mark.parametrize(
    ("procfile", "said"),
    [
        ("worker: python app.py\n", "no line `web: COMMAND`"),
        ("web: python nothing.py\n", "`python nothing.py` ended with status 2; see the log"),
    ],
)
async def test_what_does_not_start_says_why(
    running: tuple[World, Hosting], tmp_path: Path, procfile: str, said: str
) -> None:
    account = open_account(running[0], "harbour")
    folder = checkout(tmp_path / "checkout", procfile)
    failed = call(folder, "activate", account)
    assert failed.returncode == 1
    assert said in failed.stderr
    assert call(folder, "observe", account).stdout == ""


def test_every_declared_command_is_written() -> None:
    """The names are those that the proposed upgradepath.toml declares."""
    assert {f"hosting/{name}" for name in COMMANDS} < commands_for_checkout().keys()
