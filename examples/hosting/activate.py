"""Makes this checkout the release that is live, without one failed request; prints `address=http://…`.

The new process borrows the listening socket of the one that is live, so both accept from one queue until the
older one has answered what it accepted, and ends. Repeating it changes nothing. An app with a Procfile gets a
port of its own for each release (`web.py`).
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import place
import web

START_S = 30.0


def settings() -> str:
    """A digest of what the app reads from its environment; secrets are not kept."""
    values = sorted(web.settings().items())
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def install(checkout: Path, here: Path, commit: str) -> Path:
    """Copy the checkout to releases/<commit>, whole or not at all."""
    release = here / "releases" / commit
    if not release.exists():
        draft = here / "releases" / f"{commit}.{secrets.token_hex(4)}"
        shutil.copytree(checkout, draft, ignore=shutil.ignore_patterns(".git", "__pycache__"))
        draft.rename(release)
    return release


def borrow(process: str) -> socket.socket | None:
    """The listening socket of a process that lives, or None when it does not hand it over."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.settimeout(2.0)
        try:
            visitor.connect(f"run/{process}.sock")
            descriptors = socket.recv_fds(visitor, 1, 1)[1]
        except OSError:
            return None
    return socket.socket(fileno=descriptors[0]) if descriptors else None


def listen(here: Path, live: place.Live | None) -> socket.socket:
    """The environment's one listening socket: borrowed, or made anew on the port that was always its own."""
    if live and (borrowed := borrow(live.process)):
        return borrowed
    for process in place.processes(here):
        place.stop(here, process)
    for port in (live.port if live else 0, 0):
        fresh = socket.socket()
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            fresh.bind(("127.0.0.1", port))
        except OSError:
            fresh.close()
            continue
        fresh.listen(512)
        fresh.setblocking(False)
        return fresh
    raise SystemExit("no port is free on 127.0.0.1")


def start(here: Path, release: Path, listener: socket.socket) -> tuple[str, subprocess.Popen[bytes]]:
    """Start the portal in a session of its own; the lock that we take goes over to it with the descriptor."""
    process = secrets.token_hex(4)
    with (here / "run" / f"{process}.lock").open("w") as lock, (here / "app.log").open("ab") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = os.environ | {
            "HOME": str(release),
            "HANDOVER": f"../../run/{process}.sock",
            "LISTEN_FD": str(listener.fileno()),
            "LOCK_FD": str(lock.fileno()),
            "PORTAL_PROCESS": process,
        }
        child = subprocess.Popen(
            [sys.executable, "-m", "portal.serve"],
            cwd=release,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(listener.fileno(), lock.fileno()),
        )
    return process, child


def wait_until_up(port: int, process: str, child: subprocess.Popen[bytes]) -> None:
    """Return when the new process answers; exit with the reason when it ends before or is too slow."""
    deadline = time.monotonic() + START_S
    while not place.answers(port, process, within_s=0.5):
        if child.poll() is not None:
            raise SystemExit(f"the portal ended with status {child.returncode}; see the log")
        if time.monotonic() > deadline:
            child.kill()
            raise SystemExit(f"the portal did not answer within {START_S:.0f} s; see the log")
        time.sleep(place.POLL_S)


def activate(checkout: Path, here: Path, commit: str) -> place.Live:
    """Bring the commit up, make it the live one, and end what was live before."""
    live = place.read(here)
    same = live and (live.commit, live.settings) == (commit, settings())
    if live and same and place.is_up(here, live, within_s=2.0):
        return live
    for name in ("releases", "run"):
        (here / name).mkdir(exist_ok=True)
    release = install(checkout, here, commit)
    if command := web.command(release):
        process, port = web.start(here, release, command, within_s=START_S)
    else:
        with listen(here, live) as listener:
            port = listener.getsockname()[1]
            process, child = start(here, release, listener)
            wait_until_up(port, process, child)
    new = place.Live(process, commit, port, settings(), web=command is not None)
    place.write(here, new)
    place.keep_only(here, new)
    return new


if __name__ == "__main__":
    source, target = Path.cwd(), place.folder()
    with place.alone(target):
        # The path of a socket file may have about 100 characters: from here it is short.
        os.chdir(target)
        print(f"address={activate(source, target, os.environ['UPGRADEPATH_COMMIT']).address}")
