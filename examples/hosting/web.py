"""An app of any kind: its `Procfile` has a line `web: COMMAND`, which serves HTTP on 127.0.0.1:$PORT."""

import fcntl
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path

import place

_WEB = re.compile(r"web:[ \t]*(\S.*)")
OURS = {
    *("PATH", "HOME", "LANG", "LC_ALL", "PWD", "HOSTNAME", "HOSTING_ROOT"),
    *("UPGRADEPATH_COMMIT", "UPGRADEPATH_RUN"),
}
"""What says nothing of the app's settings: it differs from call to call, or is the hosting's."""


def command(release: Path) -> str | None:
    """What the Procfile starts, if there is one. Exits with the reason when it starts nothing."""
    file = release / "Procfile"
    if not file.is_file():
        return None
    found = [line for each in file.read_text("utf-8").splitlines() if (line := _WEB.fullmatch(each.rstrip()))]
    if not found:
        raise SystemExit("the Procfile has no line `web: COMMAND`, so nothing can be started")
    return found[0][1]


def settings() -> dict[str, str]:
    """The app's variables."""
    return {name: value for name, value in os.environ.items() if name not in OURS}


def start(here: Path, release: Path, words: str, within_s: float) -> tuple[str, int]:
    """Start the app in a session of its own, on a port of its own; its name and the port once it answers.

    Exits with the reason when it ends before, or is too slow.
    """
    process = secrets.token_hex(4)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lock_file = here / "run" / f"{process}.lock"
    with lock_file.open("w") as lock, (here / "app.log").open("ab") as log:
        # The app keeps the lock for as long as it lives, with the descriptor.
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = subprocess.Popen(
            ["/bin/sh", "-c", words],
            cwd=release,
            env=os.environ | {"HOME": str(release), "HOST": "127.0.0.1", "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )
        lock.write(str(child.pid))
    deadline = time.monotonic() + within_s
    while place.get(port, "/", timeout_s=0.5) is None:
        if child.poll() is not None:
            raise SystemExit(f"`{words}` ended with status {child.returncode}; see the log")
        if time.monotonic() > deadline:
            os.killpg(child.pid, signal.SIGKILL)
            where = f"127.0.0.1:{port} ($PORT)"
            raise SystemExit(f"`{words}` did not answer on {where} within {within_s:.0f} s; see the log")
        time.sleep(place.POLL_S)
    return process, port
