"""Where a command asks and as whom, how it ends, and that sending twice does it once."""

import json
import os
import socketserver
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.output import clean
from cli.world import NoAnswer, find_place
from shared.errors import Reject, conflict, not_found
from tests.cli import documents
from tests.cli.conftest import Type
from tests.cli.small_services import TOKENS, Services


def _world(folder: Path, url: str = "http://127.0.0.1:1") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "world.json").write_text(json.dumps({"url": url, "tokens": {"maintainer": "m", "sre": "s"}}))


def test_the_version_is_the_package_s(upgradepath: Type) -> None:
    shown = upgradepath("--version")
    assert (shown.exit_code, shown.stdout) == (0, f"upgradepath {metadata.version('upgradepath')}\n")


def test_an_option_beats_a_variable_and_a_variable_beats_the_file(tmp_path: Path) -> None:
    _world(tmp_path / ".upgradepath")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    variables = {"UPGRADEPATH_URL": "http://variable/", "UPGRADEPATH_TOKEN": "v"}

    def place(url: str | None, token: str | None, environ: dict[str, str]) -> tuple[str, str | None]:
        found = find_place(
            url=url, token=token, wanted=None, default="maintainer", environ=environ, folder=below
        )
        return found.url, found.token

    assert place("http://option", "o", variables) == ("http://option", "o")
    assert place(None, None, variables) == ("http://variable", "v")
    assert place(None, None, {}) == ("http://127.0.0.1:1", "m")


def test_as_chooses_an_identity_even_beside_a_token_variable(tmp_path: Path) -> None:
    _world(tmp_path)
    environ = {"UPGRADEPATH_WORLD": str(tmp_path), "UPGRADEPATH_TOKEN": "v"}
    assert find_place(url=None, token=None, wanted="sre", default="library", environ=environ).token == "s"
    with pytest.raises(NoAnswer, match="--as library"):
        find_place(url=None, token=None, wanted="library", default="library", environ=environ)


def test_a_worlds_tokens_go_to_no_other_place(tmp_path: Path) -> None:
    _world(tmp_path)
    environ = {"UPGRADEPATH_WORLD": str(tmp_path)}
    place = find_place(url="http://elsewhere", token=None, wanted=None, default="maintainer", environ=environ)
    assert place.token is None


@given(st.text())
def test_nothing_shown_steers_the_terminal(written: str) -> None:
    shown = clean(written)
    assert not [sign for sign in shown if (ord(sign) < 32 and sign != "\n") or 127 <= ord(sign) < 160]


def test_nobody_said_where(upgradepath: Type, tmp_path: Path) -> None:
    result = upgradepath("run", "list", UPGRADEPATH_WORLD=str(tmp_path / "none"))
    assert result.exit_code == 3
    assert "nobody said where" in result.stderr


def test_a_broken_world_file_is_said_plainly(upgradepath: Type, world: Path) -> None:
    (world / "world.json").write_text("{")
    result = upgradepath("run", "list")
    assert result.exit_code == 3
    assert "cannot be read" in result.stderr


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9", "ftp://127.0.0.1", "http://127.0.0.1:99999999", "http://["]
)
def test_not_reachable_is_3(upgradepath: Type, url: str) -> None:
    result = upgradepath("run", "list", "--url", url, "--token", "t")
    assert result.exit_code == 3, result.output
    assert "cure:" in result.stderr


def test_a_token_that_proves_nothing_is_3(upgradepath: Type) -> None:
    result = upgradepath("run", "list", "--token", "nonsense")
    assert result.exit_code == 3
    assert "--token" in result.stderr


def test_not_found_is_4(upgradepath: Type) -> None:
    result = upgradepath("run", "show", "run-000000000000")
    assert result.exit_code == 4
    assert "there is no run-000000000000" in result.stderr
    assert "upgradepath run list" in result.stderr


def test_a_refusal_names_reason_field_and_cure_and_is_1(upgradepath: Type, services: Services) -> None:
    one = conflict("it runs already", field="project", value="acme-portal", cure="wait for it").refusals[0]
    two = not_found("no such System", field="systems", cure="check its spelling").refusals[0]
    services.refuse = Reject(one, two)
    services.states = [documents.run()]
    result = upgradepath("run", "retry", documents.RUN)
    assert result.exit_code == 1
    assert result.stdout == ""
    for word in (
        "it runs already",
        "project = acme-portal",
        "wait for it",
        "no such System",
        "check its spelling",
    ):
        assert word in result.stderr


def test_typed_wrong_is_2(upgradepath: Type) -> None:
    assert upgradepath("run", "show").exit_code == 2
    assert upgradepath("run", "list", "--as", "nobody").exit_code == 2
    assert upgradepath("plan", "create", "acme-portal", "auth-system@").exit_code == 2
    assert upgradepath("plan", "create", "acme-portal", "a", "a@1.0.0").exit_code == 2


def test_an_answer_of_another_shape_is_no_traceback(upgradepath: Type, services: Services) -> None:
    services.documents["planner/runs"] = [{"id": "?"}]
    result = upgradepath("run", "list")
    assert result.exit_code == 3
    assert "shape" in result.stderr


def test_h_is_help_everywhere_and_the_exit_codes_are_in_it(upgradepath: Type) -> None:
    top = upgradepath("-h")
    assert top.exit_code == 0
    assert "Exit codes" in top.stdout
    for command in (("run",), ("run", "approve"), ("inbox",), ("release", "publish")):
        assert upgradepath(*command, "-h").exit_code == 0


def test_each_command_acts_as_its_own_identity(upgradepath: Type, services: Services) -> None:
    services.states = [documents.run()]
    services.documents["withdrawn"] = {
        "release": documents.release(withdrawn="no").model_dump(mode="json"),
        "revision": 2,
    }
    assert upgradepath("release", "withdraw", "auth-system", "1.3.0", "--reason", "no").exit_code == 0
    assert upgradepath("run", "retry", documents.RUN).exit_code == 0
    assert upgradepath("run", "retry", documents.RUN, "--as", "sre").exit_code == 0
    assert upgradepath("run", "retry", documents.RUN, UPGRADEPATH_TOKEN=TOKENS["sre"]).exit_code == 0
    assert [command.actor.role for command, _ in services.commands] == ["library", "maintainer", "sre", "sre"]
    keys = [key for _, key in services.commands]
    assert len(set(keys)) == len(keys)


class _DropsTheFirst(socketserver.StreamRequestHandler):
    """Reads a request, and answers every one but the first."""

    def handle(self) -> None:
        headers = {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        self.rfile.read(int(headers.get("content-length", 0)))
        seen = self.server.seen  # type: ignore[attr-defined]
        seen.append(headers.get("idempotency-key"))
        if len(seen) == 1:
            return
        body = documents.run().model_dump_json().encode()
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.wfile.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


@pytest.fixture
def dropping() -> Iterator[socketserver.TCPServer]:
    with socketserver.TCPServer(("127.0.0.1", 0), _DropsTheFirst) as server:
        server.seen = []  # type: ignore[attr-defined]
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    upgradepath: Type, dropping: socketserver.TCPServer
) -> None:
    url = f"http://127.0.0.1:{dropping.server_address[1]}"
    result = upgradepath("run", "retry", documents.RUN, "--url", url, "--token", "t")
    assert result.exit_code == 0, result.output
    first, second = dropping.seen  # type: ignore[attr-defined]
    assert first == second is not None


def test_the_installed_command_ends_without_a_traceback() -> None:
    environment = {**os.environ, "UPGRADEPATH_URL": "http://127.0.0.1:9", "UPGRADEPATH_TOKEN": "t"}
    finished = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", "run", "list"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 3
    assert "Traceback" not in finished.stderr
