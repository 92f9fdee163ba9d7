"""Which runner this machine has: what was asked for, or the first that is seen to work."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.addresses import Network
from shared.isolation.bare import Bare
from shared.isolation.bubblewrap import Bubblewrap
from shared.isolation.child import Call, DeadlineExceeded
from shared.isolation.container import Container
from shared.isolation.limits import Limits
from shared.isolation.runner import CannotIsolate, Runner

log = logging.getLogger(__name__)

_PROBED_WITHIN_S = 20.0


class RunnerSettings(BaseSettings):
    """How commands of Projects run here: `UPGRADES_RUNNER` and what belongs to it."""

    model_config = SettingsConfigDict(env_prefix="UPGRADES_", frozen=True, extra="ignore")

    runner: Literal["auto", "bubblewrap", "container", "none"] = "auto"
    runner_allow_none: bool = Field(
        default=False, description="servers run commands without isolation where there is no other way"
    )
    runner_readable: str = Field(
        default="", description="folders that every command may read besides the system's, with : between"
    )

    runner_engine: str = Field(
        default="", description="podman or docker, with the options that every call of it needs"
    )
    runner_image: str = Field(
        default="", description="the containers' image; empty: this machine's own system, with podman"
    )

    @property
    def readable(self) -> tuple[str, ...]:
        return tuple(path for path in self.runner_readable.split(os.pathsep) if path)


@dataclass(frozen=True)
class Isolation:
    """How commands of Projects run in this process, and how much each may use."""

    runner: Runner
    limits: Limits
    networks: tuple[Network, ...] = ()
    """Where the hosts may be that a Project declares, besides the public network."""

    @classmethod
    def here(cls, networks: tuple[Network, ...] = ()) -> "Isolation":
        """As the environment asks for it. Blocks. Raises `CannotIsolate`."""
        return cls(choose(RunnerSettings()), Limits(), networks)

    @classmethod
    def of_server(cls, networks: tuple[Network, ...]) -> "Isolation":
        """The same, and refused without isolation unless that is allowed. Raises `CannotIsolate`."""
        return cls(required(RunnerSettings()), Limits(), networks)


def choose(settings: RunnerSettings) -> Runner:
    """The runner that the settings ask for. Blocks. Raises `CannotIsolate` when it does not work here.

    `auto` falls back to none, and warns. A runner is probed once per process.
    """
    return _chosen(settings, os.geteuid())


def _warned(runner: Runner) -> Runner:
    if not runner.groups:
        log.warning(
            "no control group limits the memory of a command's processes together: it is watched a"
            " few times a second instead. Give the service a group of its own (systemd: Delegate=yes)"
        )
    return runner


def required(settings: RunnerSettings) -> Runner:
    """`choose` for a server: without isolation only by consent. Raises `CannotIsolate`."""
    runner = choose(settings)
    if runner.name == "none" and not settings.runner_allow_none:
        reason = "" if settings.runner == "none" else f" ({why_none(settings)})"
        raise CannotIsolate(
            f"commands of Projects would run without isolation{reason}: install bubblewrap,"
            " or set UPGRADES_RUNNER_ALLOW_NONE=true if every Project may do what this process may"
        )
    return runner


def why_none(settings: RunnerSettings) -> str:
    """Why no runner that isolates works here; empty when one does."""
    return _first_that_works(settings, os.geteuid())[1]


@lru_cache
def _chosen(settings: RunnerSettings, user: int) -> Runner:
    match settings.runner:
        case "none":
            return _warned(Bare())
        case "auto":
            runner, reason = _first_that_works(settings, user)
            if reason:
                log.warning("commands of Projects run without isolation: %s", reason)
            return _warned(runner)
        case named:
            runner = _MAKERS[named](settings)
            if reason := _probe(runner):
                raise CannotIsolate(f"the runner {named} does not work here: {reason}")
            return _warned(runner)


@lru_cache
def _first_that_works(settings: RunnerSettings, user: int) -> tuple[Runner, str]:
    reasons = []
    for name, make in _MAKERS.items():
        try:
            runner = make(settings)
        except CannotIsolate as error:
            reasons.append(str(error))
            continue
        if not (reason := _probe(runner)):
            return runner, ""
        reasons.append(f"{name} does not work here: {reason}")
    return Bare(), "; ".join(reasons)


def _probe(runner: Runner) -> str:
    """Run the smallest command of the kind that Projects have; why it did not work, or nothing."""
    call = Call((sys.executable, "-I", "-c", "0"), Path("/"), {}, _PROBED_WITHIN_S)

    def probe() -> str:
        try:
            finished = asyncio.run(runner.run(call, Limits()))
        except DeadlineExceeded as late:
            return str(late)
        words = finished.output.strip().splitlines() or [f"it ended with {finished.exit_code}"]
        return "" if finished.exit_code == 0 else words[-1]

    return _in_a_thread(probe)


def _in_a_thread(work: Callable[[], str]) -> str:
    """A loop of its own, also where one runs already."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(work).result()


_MAKERS: dict[str, Callable[[RunnerSettings], Runner]] = {
    "bubblewrap": lambda settings: Bubblewrap(settings.readable),
    "container": lambda settings: Container(settings.runner_engine, settings.runner_image, settings.readable),
}
