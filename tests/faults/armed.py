"""Crash points of a system from outside: what was passed, and what ends the next one that passes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from shared.crash_points import VARIABLE


class Armed:
    """The folder that the processes look into; `variables` is what they must be started with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("reached", "armed", "fired"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.variables: Mapping[str, str] = {VARIABLE: str(folder)}

    def arm(self, *names: str) -> None:
        """Whoever comes by each of these next is killed there."""
        for name in names:
            (self._folder / "armed" / name).touch()

    def disarm(self, names: Iterable[str]) -> None:
        """Nobody is killed there any more."""
        for name in names:
            (self._folder / "armed" / name).unlink(missing_ok=True)

    def reached(self) -> list[str]:
        return self._names("reached")

    def waiting(self) -> list[str]:
        """Armed, and nobody has come by."""
        return self._names("armed")

    def fired(self) -> list[str]:
        return self._names("fired")

    def _names(self, which: str) -> list[str]:
        return sorted(path.name for path in (self._folder / which).iterdir())
