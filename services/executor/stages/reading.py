"""A Project's files, read in a child: a file that ends its reader is a failure of its Project alone."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from services.executor.stages.project_tree import unreadable
from shared.reading.twice import GivenUp, read_twice

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def read_in_child(subject: str, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call `function`, whose arguments are the text of `subject`.

    Raises as `function` does, and `Failure` naming `subject` when it ended its reader twice.
    """
    try:
        return await read_twice(subject, function, *args, **kwargs)
    except GivenUp as given_up:
        (refusal,) = given_up.refusals
        raise unreadable(subject, refusal.reason, refusal.cure) from given_up
