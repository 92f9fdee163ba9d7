"""A reading that ends its reader is tried once more, and then refused by the file's name."""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from shared.errors import invalid
from shared.reading.readers import ReaderEnded, readers

log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def read_twice(name: str, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call `function` in a child; `name` says what is read, and takes turns with nothing else of that name.

    Raises as `function` does, and `Reject` when it ended its child twice: the first time it may have been
    the machine that was short of memory.
    """
    async with readers().turn(name) as call:
        try:
            return await call(function, *args, **kwargs)
        except ReaderEnded as ended:
            log.warning("%s: the reader %s", name, ended)
        try:
            return await call(function, *args, **kwargs)
        except ReaderEnded as ended:
            raise invalid(
                f"{name} cannot be read: it twice {ended}",
                field=ended.file or name,
                cure="make this file smaller or simpler",
            ) from ended
