"""Where secrets lie: mounted files and variables of the worker, each under its Project and environment."""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Scope = Literal["production", "staging", "repository"]
SCOPES: tuple[Scope, ...] = ("production", "staging", "repository")

VALUE_BYTES_MAX = 64 << 10
"""A certificate chain fits; a device that never ends does not."""
_OLD_VARIABLE = "UPGRADES_SECRET_"
_VARIABLE = "UPGRADES_SECRET__"
_SEPARATOR = "__"
_LINKED_FOLDER = ".."


@dataclass(frozen=True)
class SecretPlace:
    """Whose secret it is: a name means nothing without its Project and environment."""

    project: str
    environment: Scope
    name: str

    def __str__(self) -> str:
        return f"{self.project}/{self.environment}/{self.name}"


class UnusableSecret(Exception):
    """A secret is there and cannot be used; the message says why and what to do, never its value."""


class SecretSource(Protocol):
    """One kind of place in which secrets are kept."""

    def read(self, place: SecretPlace) -> str | None:
        """The value, or none when it is not here. Raises `UnusableSecret`, or `Retry` for a silent source."""
        ...

    def where(self, place: SecretPlace) -> str:
        """Where `read` looks, for people."""
        ...

    def unscoped(self, name: str) -> str | None:
        """Where a secret of this name lies that belongs to no Project; none when there is none."""
        ...

    def refresh(self, places: tuple[SecretPlace, ...]) -> None:
        """Read these again now, where reading takes long. It may block."""
        ...


def variable_of(place: SecretPlace) -> str | None:
    """`UPGRADES_SECRET__<PROJECT>__<ENVIRONMENT>__<NAME>`; none for a name that would be ambiguous there.

    Hyphens become underscores and two of them separate the parts, so no part may hold two hyphens in a row or
    end in one: otherwise two secrets would share a variable.
    """
    parts = (place.project, place.environment, place.name)
    if any("--" in part or part.endswith("-") for part in parts):
        return None
    return _VARIABLE + _SEPARATOR.join(part.upper().replace("-", "_") for part in parts)


class VariableSource:
    """Variables of the worker's own environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def read(self, place: SecretPlace) -> str | None:
        variable = variable_of(place)
        return None if variable is None else self._environ.get(variable)

    def where(self, place: SecretPlace) -> str:
        variable = variable_of(place)
        if variable is None:
            return "no variable, as a name with two hyphens in a row or one at its end has none"
        return f"variable {variable}"

    def unscoped(self, name: str) -> str | None:
        variable = _OLD_VARIABLE + name.upper().replace("-", "_")
        return f"the variable {variable}" if variable in self._environ else None

    def refresh(self, places: tuple[SecretPlace, ...]) -> None:
        """Nothing is to be asked."""


class FolderSource:
    """Files `<folder>/<project>/<environment>/<name>`, as an operator or Kubernetes mounts them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, place: SecretPlace) -> str | None:
        path = self._folder / str(place)
        try:
            # Kubernetes mounts a file as a link into a folder beside it, whose name begins with two dots.
            real = path.resolve(strict=True)
            inside = real.relative_to(self._folder.resolve())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            raise _unusable(path, "it is a link that leads out of the secrets' folder") from None
        except (OSError, RuntimeError) as error:
            raise _unusable(path, f"it cannot be read: {type(error).__name__}") from None
        named = [part for part in inside.parts if not part.startswith(_LINKED_FOLDER)]
        if named != [place.project, place.environment, place.name]:
            raise _unusable(path, "it is a link to another secret")
        return _text(path, _bytes(path, real))

    def where(self, place: SecretPlace) -> str:
        return f"file {self._folder / str(place)}"

    def unscoped(self, name: str) -> str | None:
        path = self._folder / name
        return f"the file {path}" if path.is_file() else None

    def refresh(self, places: tuple[SecretPlace, ...]) -> None:
        """Files are read each time: a mounted secret may change."""


def _bytes(path: Path, real: Path) -> bytes:
    try:
        # Without waiting: a pipe that nobody writes into would hold the worker up.
        opened = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(path, f"it cannot be read: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise _unusable(path, "it is not a regular file")
        with open(opened, "rb", closefd=False) as file:
            data = file.read(VALUE_BYTES_MAX + 1)
    finally:
        os.close(opened)
    if len(data) > VALUE_BYTES_MAX:
        raise _unusable(path, f"it has more than {VALUE_BYTES_MAX >> 10} KiB")
    return data


def _text(path: Path, data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _unusable(path, "it is not UTF-8") from None
    return re.sub(r"[\r\n]+\Z", "", text)


def _unusable(path: Path, why: str) -> UnusableSecret:
    return UnusableSecret(
        f"the secret's file {path} is not used: {why}; write the value into that file itself"
    )
