"""A Project's environment, driven by the commands that the Project declares for it."""

import os
import re
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from shared.addresses import BadAddress, read_address
from shared.clients.processes import DeadlineExceeded, Finished, run_trusted
from shared.clients.secrets import ScopedSecrets
from shared.contracts.projects import Environment
from shared.contracts.values import Commit
from shared.crash_points import around

_SYSTEM_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin")
_ADDRESS = re.compile(r"^address=(https?://\S+)\s*$", re.MULTILINE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TAIL_CHARACTERS = 2000


class EnvironmentFailed(Exception):
    """A command of an environment did not do its work; `exit_code` is none when its deadline passed."""

    def __init__(self, command: str, exit_code: int | None, output: str) -> None:
        ending = "did not end in time" if exit_code is None else f"ended with {exit_code}"
        self.ending = f"{command} {ending}"
        """The same without a word of what was printed."""
        super().__init__(f"{self.ending}: {output.strip()[-_TAIL_CHARACTERS:] or 'it printed nothing'}")
        self.command = command
        self.exit_code = exit_code
        self.output = output


class EnvironmentRunner:
    """Runs one environment's commands. Use it as a context manager: it owns the commands' home folder.

    `checkout` is always a folder with the files of the commit that the command is about. Every method
    raises `EnvironmentFailed`, with secrets taken out of the output, and `MissingSecret`. The secrets must be
    those of that very environment.
    """

    def __init__(
        self,
        environment: Environment,
        name: Literal["production", "staging"],
        run_id: str,
        secrets: ScopedSecrets,
        database_url: str | None = None,
    ) -> None:
        if secrets.environment != name:
            raise ValueError(f"commands of {name} get no secrets of {secrets.environment}")
        self._environment = environment
        self._name = name
        self._run_id = run_id
        self._secrets = secrets
        self._database_url = database_url
        self._home = tempfile.TemporaryDirectory(prefix="upgradepath-home-")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the home folder. Safe to repeat."""
        self._home.cleanup()

    def variables(self, commit: Commit | Literal[""], address: str | None = None) -> dict[str, str]:
        """The whole environment of a command or check: nothing of the worker's own gets in."""
        declared = {name: self._secrets.value(text) for name, text in self._environment.variables.items()}
        database = self._database_url or self._secrets.resolve(self._environment.database)
        ours = {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), *_SYSTEM_FOLDERS)),
            "HOME": self._home.name,
            "LANG": "C.UTF-8",
            "DATABASE_URL": database,
            "UPGRADEPATH_ENVIRONMENT": self._name,
            "UPGRADEPATH_COMMIT": commit,
            "UPGRADEPATH_RUN": self._run_id if self._name == "staging" else "",
        }
        if address is not None:
            ours["UPGRADEPATH_ADDRESS"] = address
        return declared | ours

    async def activate(self, checkout: Path, commit: Commit) -> str | None:
        """Bring `commit` up; the address that was printed last, if any."""
        finished = await self._run("activate", checkout, commit)
        addresses: list[str] = _ADDRESS.findall(_said(finished))
        if not addresses:
            return None
        try:
            read_address(addresses[-1])
        except BadAddress as error:
            said = f"the address that it printed is not taken: {error}"
            raise EnvironmentFailed("activate", finished.exit_code, said) from None
        return addresses[-1]

    async def observe(self, checkout: Path, commit: Commit | Literal[""] = "") -> Commit | None:
        """The commit that is live, or none."""
        finished = await self._run("observe", checkout, commit)
        words = _said(finished).split()
        if not words:
            return None
        if not _COMMIT.fullmatch(words[-1]):
            said = f"expected a commit in 40 hexadecimal digits, or nothing:\n{finished.output}"
            raise EnvironmentFailed("observe", finished.exit_code, self._secrets.redact(said))
        return words[-1]

    async def health(self, checkout: Path, commit: Commit | Literal[""] = "") -> None:
        """Returns when the environment says that it is healthy."""
        await self._run("health", checkout, commit)

    async def destroy(self, checkout: Path, commit: Commit | Literal[""] = "") -> None:
        """Stop it and leave nothing."""
        await self._run("destroy", checkout, commit)

    async def logs(self, checkout: Path, commit: Commit | Literal[""] = "") -> str:
        """The recent log, with secrets taken out."""
        return self._secrets.redact((await self._run("logs", checkout, commit)).output)

    async def _run(self, command: str, checkout: Path, commit: str) -> Finished:
        argv: tuple[str, ...] = getattr(self._environment, command)
        try:
            async with around(command):
                finished = await run_trusted(
                    argv,
                    cwd=checkout,
                    environment=self.variables(commit),
                    deadline_s=self._environment.deadline_s,
                    separate=True,
                )
        except DeadlineExceeded as exceeded:
            said = self._secrets.redact(f"{exceeded}\n{exceeded.output}")
            raise EnvironmentFailed(command, None, said) from None
        if finished.exit_code != 0:
            raise EnvironmentFailed(command, finished.exit_code, self._secrets.redact(finished.output))
        return finished


def _said(finished: Finished) -> str:
    # A warning on standard error is not an answer.
    return finished.stdout.decode(errors="replace")
