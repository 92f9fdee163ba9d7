"""A reading that ends its reader is tried once more, and then refused by the file's name."""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from shared.acting import acting
from shared.contracts.refusals import Refusal
from shared.errors import Reject
from shared.reading.readers import ReaderEnded, readers

log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")


class GivenUp(Reject):
    """A file ended its reader twice."""


async def read_twice(name: str, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call `function` in a child; `name` says what is read.

    It takes its turn with all that is read for the same actor; without one, with what has the same name.

    Raises as `function` does, and `GivenUp` when it ended its child twice: the first time it may have been
    the machine that was short of memory.
    """
    async with readers().turn(acting() or name) as call:
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
