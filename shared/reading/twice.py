"""A reading that ends its reader is tried once more, and then refused by the file's name."""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from shared.contracts.refusals import Refusal
from shared.errors import Reject
from shared.reading.readers import ReaderEnded, readers

log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")


_actor: ContextVar[str | None] = ContextVar("actor", default=None)


def reading_for(actor: str) -> None:
    """What this task and those that it starts read from here on is this actor's: one reading at a time."""
    _actor.set(actor)


class GivenUp(Reject):
    """A file ended its reader twice."""


async def read_twice(name: str, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call `function` in a child; `name` says what is read.

    It takes its turn with all that is read for the same actor; without one, with what has the same name.

    Raises as `function` does, and `GivenUp` when it ended its child twice: the first time it may have been
    the machine that was short of memory.
    """
    async with readers().turn(_actor.get() or name) as call:
        try:
            return await call(function, *args, **kwargs)
        except ReaderEnded as ended:
            log.warning("%s: the reader %s", name, ended)
        try:
            return await call(function, *args, **kwargs)
        except ReaderEnded as ended:
            reason, cure = f"{name} cannot be read: it twice {ended}", "make this file smaller or simpler"
            where = ended.file or name
            raise GivenUp(Refusal(kind="invalid", reason=reason, field=where, cure=cure)) from ended
