"""A Project's environment, driven by the commands that the Project declares for it."""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from shared.addresses import AddressRefused, BadAddress, reachable, read_address
from shared.clients.processes import DeadlineExceeded, Finished, run
from shared.clients.secrets import ScopedSecrets
from shared.contracts.projects import Environment
from shared.contracts.values import Commit
from shared.crash_points import around
from shared.isolation.choosing import Isolation
from shared.isolation.network import Destination, Unreachable

_SYSTEM_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin")
_ADDRESS = re.compile(r"^address=(https?://\S+)\s*$", re.MULTILINE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TAIL_CHARACTERS = 2000
_SHUT_CURE = "if it is to be asked, have the operator add its network to UPGRADES_STAGING_NETWORKS"


@dataclass(frozen=True)
class Reached:
    """What a command may reach, and a sentence for each variable whose address it may not."""

    destinations: tuple[Destination, ...]
    shut: tuple[str, ...] = ()


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
    """Runs one environment's commands, isolated: in a copy of the checkout, which ends with each of them.

    What must live on is the hosting's, which they ask.

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
        isolation: Isolation | None = None,
    ) -> None:
        if secrets.environment != name:
            raise ValueError(f"commands of {name} get no secrets of {secrets.environment}")
        self._environment = environment
        self._name = name
        self._run_id = run_id
        self._secrets = secrets
        self._database_url = database_url
        self._isolation = isolation

    def variables(self, commit: Commit | Literal[""], address: str | None = None) -> dict[str, str]:
        """The whole environment of a command or check: nothing of the worker's own gets in."""
        ours = {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), *_SYSTEM_FOLDERS)),
            "HOME": "/",
            "LANG": "C.UTF-8",
            "DATABASE_URL": self._database(),
            "UPGRADEPATH_ENVIRONMENT": self._name,
            "UPGRADEPATH_COMMIT": commit,
            "UPGRADEPATH_RUN": self._run_id if self._name == "staging" else "",
        }
        if address is not None:
            ours["UPGRADEPATH_ADDRESS"] = address
        return self._declared() | ours

    async def destinations(self, network: Sequence[str], address: str | None = None) -> Reached:
        """What a command with this `network` may reach. Raises `Unreachable`."""
        found: list[Destination | None] = []
        shut: list[str] = []
        for reach in network:
            match reach:
                case "address":
                    found.append(await self._allowed(Destination.of_url(address or "")))
                case "database":
                    # We connect there ourselves.
                    found.append(Destination.of_url(self._database()))
                case "variables":
                    for name, value in self._declared().items():
                        try:
                            found.append(await self._allowed(Destination.of_url(value)))
                        except Unreachable as reason:
                            # Not every variable with a URL is meant to be asked.
                            shut.append(f"{name} is shut to the command: {reason}; {_SHUT_CURE}")
                case _:
                    found.append(await self._allowed(Destination.of_text(reach)))
        return Reached(tuple(each for each in found if each is not None), tuple(shut))

    async def _allowed(self, wanted: Destination | None) -> Destination | None:
        """The same at the one address that was judged. Raises `Unreachable`."""
        if wanted is None:
            return None
        networks = () if self._isolation is None else self._isolation.networks
        try:
            return replace(wanted, at=str(await reachable(wanted.host, wanted.port, networks)))
        except AddressRefused as refused:
            raise Unreachable(str(refused)) from None
        except OSError as error:
            raise Unreachable(f"{wanted} has no address: {error}") from None

    def _declared(self) -> dict[str, str]:
        return {name: self._secrets.value(text) for name, text in self._environment.variables.items()}

    def _database(self) -> str:
        return self._database_url or self._secrets.resolve(self._environment.database)

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
            reached = await self.destinations(self._environment.network)
            async with around(command):
                finished = await run(
                    argv,
                    cwd=checkout,
                    environment=self.variables(commit),
                    deadline_s=self._environment.deadline_s,
                    separate=True,
                    isolation=self._isolation,
                    destinations=reached.destinations,
                )
        except Unreachable as reason:
            raise EnvironmentFailed(
                command, None, self._secrets.redact(f"it was not run: {reason}")
            ) from None
        except DeadlineExceeded as exceeded:
            said = self._secrets.redact(f"{exceeded}\n{exceeded.output}")
            raise EnvironmentFailed(command, None, said) from None
        if finished.exceeded:
            said = self._secrets.redact(f"it {finished.exceeded}, and was stopped\n{finished.output}")
            raise EnvironmentFailed(command, finished.exit_code, said)
        if finished.exit_code != 0:
            said = "\n".join((finished.output.rstrip(), *reached.shut))
            raise EnvironmentFailed(command, finished.exit_code, self._secrets.redact(said))
        return finished


def _said(finished: Finished) -> str:
    # A warning on standard error is not an answer.
    return finished.stdout.decode(errors="replace")
