"""Where the services are and who asks: options first, then the environment, then the dev world's file."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

Role = Literal["library", "maintainer", "sre"]
Person = Literal["library", "maintainer", "approver", "sre"]
"""Somebody of the local world; its approver is another maintainer."""
FOLDER = ".upgradepath"
FILE = "world.json"


class NoAnswer(Exception):
    """It could not be found out: not reachable, or nobody knows who asks. Exit code 3.

    `passing` says that the same question may be answered soon.
    """

    def __init__(self, reason: str, cure: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cure = cure
        self.passing = passing


class World(BaseModel):
    """What `dev` writes for the commands that are typed beside it."""

    url: str
    tokens: dict[Person, str] = {}
    bootstrap_servers: str | None = None
    postgres: str | None = None
    library_key: str | None = None
    """The file with the key that signs this world's packages."""


@dataclass(frozen=True)
class Place:
    """A base URL without a trailing slash, and the bearer token to send there, if there is one."""

    url: str
    token: str | None = field(repr=False)
    identity: str
    of_world: bool = False
    """The token is of the local world's file."""


def find_place(
    *,
    url: str | None,
    token: str | None,
    wanted: Person | None,
    default: Person,
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> Place:
    """Where to ask, as whom.

    An option beats a variable, and a variable beats the world's file. `wanted` (`--as`) is an option: it
    names an identity of the world's file. A world's tokens are sent to that world's URL only.
    Raises `NoAnswer`.
    """
    world = _read_world(environ, folder or Path.cwd())
    address = url or environ.get("UPGRADEPATH_URL") or (world.url if world else None)
    if not address:
        raise NoAnswer(
            "nobody said where the services are",
            "give --url, set UPGRADEPATH_URL, or start the local world: upgradepath dev",
        )
    address = address.rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise NoAnswer(f"{address!r} is no http:// or https:// URL", "correct --url or UPGRADEPATH_URL")
    tokens = world.tokens if world and world.url.rstrip("/") == address else {}
    if token:
        return Place(address, token, "the owner of --token")
    if wanted is not None:
        if wanted not in tokens:
            raise NoAnswer(
                f"no token for --as {wanted} at {address}",
                "--as names an identity of the local world; elsewhere give --token or UPGRADEPATH_TOKEN",
            )
        return Place(address, tokens[wanted], wanted, of_world=True)
    if environ.get("UPGRADEPATH_TOKEN"):
        return Place(address, environ["UPGRADEPATH_TOKEN"], "the owner of UPGRADEPATH_TOKEN")
    return Place(address, tokens.get(default), default, of_world=default in tokens)


def announced_world() -> World | None:
    """The local world that runs beside or above this folder, if there is one. Raises `NoAnswer`."""
    return _read_world(os.environ, Path.cwd())


def world_folder() -> Path | None:
    """The folder of the local world that runs beside or above this one."""
    file = _world_file(os.environ, Path.cwd())
    return None if file is None else file.parent


def _read_world(environ: Mapping[str, str], folder: Path) -> World | None:
    path = _world_file(environ, folder)
    if path is None:
        return None
    try:
        return World.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise NoAnswer(
            f"{path} cannot be read: {type(error).__name__}", "start the local world again: upgradepath dev"
        ) from error


def _world_file(environ: Mapping[str, str], folder: Path) -> Path | None:
    named = environ.get("UPGRADEPATH_WORLD")
    if named:
        path = Path(named) / FILE
        return path if path.is_file() else None
    candidates = (above / FOLDER / FILE for above in (folder, *folder.parents))
    return next((path for path in candidates if path.is_file()), None)
