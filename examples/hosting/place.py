"""Where one environment lives on this machine, what is live there, and how a process is stopped.

    $HOSTING_ROOT/production/  or  $HOSTING_ROOT/staging-<run>/
        state.json             the process that is live: {"process", "commit", "port", "settings", "web"}
        releases/<commit>/     copies of checkouts
        run/<process>.lock     locked for as long as that process lives; holds its pid
        run/<process>.sock     where it lends its listening socket
        app.log                what all of them printed

A pid alone proves nothing, because the system uses it again: the lock does.
"""

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

STOP_S = 5.0
POLL_S = 0.02


@dataclass(frozen=True)
class Live:
    """The process that was activated last."""

    process: str
    commit: str
    port: int
    settings: str
    web: bool = False
    """An app of a Procfile: it knows neither /version nor its process."""

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


def folder() -> Path:
    """This environment's folder; every staging run has its own."""
    environment = os.environ["UPGRADEPATH_ENVIRONMENT"]
    run = os.environ.get("UPGRADEPATH_RUN", "")
    return Path(os.environ["HOSTING_ROOT"]).resolve() / (
        f"staging-{run}" if environment == "staging" else environment
    )


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Hold the place's lock, so that two activations exclude each other."""
    while True:
        place.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError), (place / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Somebody may have destroyed the place while we waited for a lock on what is no longer there.
            if os.fstat(file.fileno()).st_ino == (place / "lock").stat().st_ino:
                yield
                return


def read(place: Path) -> Live | None:
    """What state.json says, if there is one."""
    try:
        return Live(**json.loads((place / "state.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def write(place: Path, live: Live) -> None:
    """Replace state.json in one step."""
    draft = place / "state.json.new"
    draft.write_text(json.dumps(asdict(live)), encoding="utf-8")
    draft.replace(place / "state.json")


def get(port: int, path: str, timeout_s: float = 2.0) -> tuple[int, str] | None:
    """Status and body, or None when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def is_up(place: Path, live: Live, within_s: float) -> bool:
    """Whether what is live answers: by its name, or an app of a Procfile while its process runs."""
    if not live.web:
        return answers(live.port, live.process, within_s)
    lock = place / "run" / f"{live.process}.lock"
    return lock.exists() and alive(lock) is not None and get(live.port, "/", within_s) is not None


def answers(port: int, process: str, within_s: float) -> bool:
    """Whether this very process answers /version; while two share the port, it may take several questions."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        answer = get(port, "/version")
        if answer is None:
            return False
        if answer[0] == 200 and json.loads(answer[1])["process"] == process:
            return True
        time.sleep(POLL_S)
    return False


def alive(lock: Path) -> int | None:
    """The pid of the process that holds this lock, or None when nobody does."""
    with lock.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read() or "0")
    return None


def processes(place: Path) -> list[str]:
    """Every process that was ever started here and is not cleared away."""
    return [lock.stem for lock in sorted((place / "run").glob("*.lock"))]


def stop(place: Path, process: str) -> None:
    """End a process: politely, after STOP_S seconds by force; then clear its files away."""
    lock = place / "run" / f"{process}.lock"
    deadline = time.monotonic() + STOP_S
    asked = False
    while (pid := alive(lock)) is not None:
        late = time.monotonic() > deadline
        if pid and (late or not asked):
            with contextlib.suppress(ProcessLookupError):
                send(pid, signal.SIGKILL if late else signal.SIGTERM)
            asked = True
        if time.monotonic() > deadline + STOP_S:
            raise SystemExit(f"process {pid} did not end")
        time.sleep(POLL_S)
    lock.with_suffix(".sock").unlink(missing_ok=True)
    lock.unlink(missing_ok=True)


def send(pid: int, number: signal.Signals) -> None:
    """To the process, and to what it has started if that is a session of its own."""
    if os.getsid(pid) == pid:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)


def keep_only(place: Path, live: Live) -> None:
    """Stop every other process and remove every other release."""
    for process in processes(place):
        if process != live.process:
            stop(place, process)
    for release in (place / "releases").iterdir():
        if release.name != live.commit:
            shutil.rmtree(release)
