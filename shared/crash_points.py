"""Named places at which a process can be told to end, as a power cut ends it: commits and external calls.

They are off, and cost a call that does nothing, unless UPGRADES_CRASH_POINTS names a folder. Then

    reached/<name>   is made by whichever process comes by: so the names can be listed
    armed/<name>     ends the first process that comes by, and is moved to
    fired/<name>

A name is `<service>[.<stage, effect or message>].<seam>.<moment>`: who, at what, where, on which side of it.
"""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path

VARIABLE = "UPGRADES_CRASH_POINTS"

_folder = Path(os.environ[VARIABLE]) if VARIABLE in os.environ else None
_within: ContextVar[tuple[str, ...]] = ContextVar("crash points within", default=())
_passed: set[str] = set()


def enter(service: str) -> None:
    """From here on, and in every task that begins here, the names begin with this service."""
    _within.set((service,))


@contextmanager
def inside(*what: str) -> Iterator[None]:
    """In the block the names go on with `what`: the stage that is done, and the effect that it has."""
    token = _within.set((*_within.get(), *what))
    try:
        yield
    finally:
        _within.reset(token)


@asynccontextmanager
async def around(seam: str) -> AsyncIterator[None]:
    """The places before and after an external call; there is no place after one that fails."""
    reached(seam, "before")
    yield
    reached(seam, "after")


def reached(*seam: str) -> None:
    """This place, if anybody has asked for such places at all. Of a message's type its name is enough."""
    if _folder is not None:
        parts = (part.removeprefix("upgrades.").removesuffix(".v1") for part in seam if part)
        _come_by(_folder, ".".join((*_within.get(), *parts)))


def _come_by(folder: Path, name: str) -> None:
    if name not in _passed:
        _passed.add(name)
        (folder / "reached" / name).touch()
    try:
        # Only one of those that come by at the same time can move it.
        (folder / "armed" / name).rename(folder / "fired" / name)
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
