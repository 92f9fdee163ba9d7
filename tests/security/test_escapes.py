"""A check is its author's program: whatever it tries, it reaches only its own, and nothing of it stays."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from shared.clients.processes import DeadlineExceeded, run
from shared.isolation.bare import Bare
from shared.isolation.bubblewrap import Bubblewrap
from shared.isolation.choosing import Isolation
from shared.isolation.container import Container
from shared.isolation.leftovers import remove_tree
from shared.isolation.network import Destination, Gateway, GatewayFailed
from tests.security.escapes import ESCAPES, HELD_WITHOUT_ISOLATION, SHOWN_IN_A_CONTAINER
from tests.security.runners import PATH, SMALL, attack, attack_together, processes_with


@pytest.fixture(scope="module")
def said_in_a_container(
    container: Container, machine: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What each attack printed; they share a container, as each is a process of its own."""
    programs = {name: program.format(**machine) for name, program in ESCAPES.items()}
    return attack_together(container, tmp_path_factory.mktemp("checkout"), programs)


@pytest.mark.parametrize("name", [name for name in ESCAPES if name not in SHOWN_IN_A_CONTAINER])
def test_a_check_in_a_container_reaches_nothing_of_the_worker(
    name: str, said_in_a_container: dict[str, str]
) -> None:
    assert "ESCAPED" not in said_in_a_container[name]
    assert "held" in said_in_a_container[name], "the attack itself must have run"


@pytest.mark.parametrize("name", ESCAPES)
async def test_a_check_reaches_nothing_of_the_worker(
    name: str, bubblewrap: Bubblewrap, checkout: Path, machine: dict[str, object]
) -> None:
    program = ESCAPES[name].format(**machine)
    finished = await attack(Isolation(bubblewrap, SMALL), checkout, program)
    assert "ESCAPED" not in finished.output
    assert "held" in finished.output, "the attack itself must have run"


@pytest.mark.parametrize("name", HELD_WITHOUT_ISOLATION)
async def test_what_holds_without_isolation(name: str, checkout: Path, machine: dict[str, object]) -> None:
    finished = await attack(Isolation(Bare(), SMALL), checkout, ESCAPES[name].format(**machine))
    assert "ESCAPED" not in finished.output
    assert "held" in finished.output


async def test_the_attacks_would_get_through(checkout: Path, machine: dict[str, object]) -> None:
    """Without isolation most of what the machine has is in reach: the programs above are no straw men."""
    for name in (
        "the secrets' folder",
        "another Run's checkout",
        "the worker's loopback",
        "an abstract socket",
    ):
        finished = await attack(Isolation(Bare(), SMALL), checkout, ESCAPES[name].format(**machine))
        assert "ESCAPED" in finished.output, name


# --- the network ---------------------------------------------------------------------------------


@pytest.fixture
async def greeter() -> AsyncIterator[int]:
    """A server on the worker's loopback; its port."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"good day")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


GREETED = """
import socket
for host, port in {places}:
    try:
        print(host, port, socket.create_connection((host, port), 5).recv(20))
    except OSError as error:
        print(host, port, "held")
"""


async def test_what_is_declared_is_reached_under_its_own_name_and_nothing_else(
    isolating: Isolation, checkout: Path, greeter: int, machine: dict[str, object]
) -> None:
    names = ("127.0.0.1", "localhost", "portal.acme.example", "192.0.2.7")
    declared = [Destination(name, greeter, at="127.0.0.1") for name in names]
    places = [(name, greeter) for name in names] + [("127.0.0.1", machine["port"]), ("192.0.2.8", greeter)]
    program = GREETED.format(places=places)
    finished = await attack(isolating, checkout, program, *declared)
    assert finished.output.count("b'good day'") == len(names), finished.output
    assert finished.output.count("held") == 2


async def test_sockets_that_did_not_arrive_are_said_and_not_taken_for_the_commands_fault() -> None:
    """The kernel drops what a process may not open: the command would see refused connections."""
    declared = [Destination("192.0.2.7", port, at="127.0.0.1") for port in (8001, 8002)]
    async with Gateway(declared) as gateway:
        with gateway.theirs.dup() as launcher, socket.create_server(("127.0.0.1", 0)) as one:
            gateway.started()
            gateway.whole()
            socket.send_fds(launcher, [b"x"], [one.fileno()])
            with pytest.raises(GatewayFailed, match="1 of 2 sockets"):
                await until_it_fails(gateway)


async def until_it_fails(gateway: Gateway) -> None:
    async with asyncio.timeout(5):
        while True:
            gateway.whole()
            await asyncio.sleep(0)


async def test_what_only_the_owner_may_read_is_copied_without_a_word(
    isolation: Isolation, checkout: Path
) -> None:
    os.chmod(checkout / "greeting.txt", 0o600)
    os.chmod(checkout, 0o700)
    finished = await attack(isolation, checkout, "print(open('greeting.txt').read())")
    assert finished.output == "hello\n\n"


async def test_a_low_port_is_reached_without_any_right_left(
    isolating: Isolation, checkout: Path, greeter: int
) -> None:
    declared = Destination("api.hosting.example", 443, at="127.0.0.1")
    program = ESCAPES["rights by a program of root's"].format()
    program += "\nimport socket; socket.create_connection(('api.hosting.example', 443), 5)"
    finished = await attack(isolating, checkout, program, declared)
    assert "held" in finished.output
    assert finished.exit_code == 0, finished.output


# --- the end -------------------------------------------------------------------------------------

DETACHED = """
import os, sys
for n in range(2):
    if os.fork():
        os.waitpid(-1, 0) if n == 0 else os._exit(0)
        break
    os.setsid()
else:
    os.environ["HOME"] = "/"
    os.chdir("/")
    for descriptor in range(64):
        try:
            os.close(descriptor)
        except OSError:
            pass
    os.execve(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(600)", {mark!r}], {{}})
{then}
"""


async def test_what_detached_itself_with_another_home_ends_with_the_command(
    isolation: Isolation, checkout: Path
) -> None:
    mark = secrets.token_hex(8)
    finished = await attack(isolation, checkout, DETACHED.format(mark=mark, then="print('done')"))
    assert "done" in finished.output
    assert not processes_with(mark)


async def test_a_deadline_ends_what_detached_itself(isolation: Isolation, checkout: Path) -> None:
    mark = secrets.token_hex(8)
    program = DETACHED.format(mark=mark, then="import time; time.sleep(600)")
    with pytest.raises(DeadlineExceeded):
        await attack(isolation, checkout, program, deadline_s=3)
    assert not processes_with(mark)


async def test_signals_to_everybody_meet_nobody_of_the_worker(
    isolating: Isolation, checkout: Path, machine: dict[str, object]
) -> None:
    program = "import os, signal\nsignal.signal(15, signal.SIG_IGN)\nos.killpg(0, 15)\nos.kill(-1, 9)"
    await attack(isolating, checkout, program)
    assert psutil.pid_exists(int(str(machine["victim"])))


async def test_the_checkout_is_a_copy(isolation: Isolation, checkout: Path) -> None:
    program = "import os; os.remove('greeting.txt'); os.mkfifo('report.xml'); os.symlink('/', 'root')"
    finished = await attack(isolation, checkout, program)
    assert finished.exit_code == 0, finished.output
    assert os.listdir(checkout) == ["greeting.txt"]


NASTY_TREES = """
import os
os.makedirs("locked/inside"); os.chmod("locked/inside", 0); os.chmod("locked", 0)
for _ in range(1500):
    os.mkdir("d" * 40); os.chdir("d" * 40)
"""


async def test_a_tree_that_cannot_be_cleared_away_is_cleared_away(
    isolation: Isolation, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    finished = await attack(isolation, checkout, NASTY_TREES)
    assert finished.exit_code == 0, finished.output
    assert list(scratch.iterdir()) == []


def test_removing_follows_no_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(kept)
    os.mkfifo(tree / "pipe")
    remove_tree(tree)
    assert not tree.exists()
    assert (kept / "file").read_text() == "mine"


async def test_a_huge_environment_is_a_verdict(isolation: Isolation, checkout: Path) -> None:
    environment = {"PATH": PATH, "BIG": "x" * (1 << 20)}
    finished = await run(["true"], cwd=checkout, environment=environment, deadline_s=60, isolation=isolation)
    assert finished.exit_code == 127
    assert "too long" in finished.output
