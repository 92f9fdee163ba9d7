"""A Project's files, read in a child: a file that ends its reader is a failure of its Project alone."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from shared.contracts.stages import Finding
from shared.errors import Failure
from shared.reading.twice import GivenUp, read_twice

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def read_in_child(subject: str, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call `function`, whose arguments are the text of `subject`.

    Raises as `function` does, and `Failure` naming the file, `subject` unless the reader said another, when
    it ended its reader twice.
    """
    try:
        return await read_twice(subject, function, *args, **kwargs)
    except GivenUp as given_up:
        (refusal,) = given_up.refusals
        raise unreadable(refusal.field or subject, refusal.reason, refusal.cure) from given_up


def unreadable(subject: str, detail: str, cure: str) -> Failure:
    """The failure of a file of the Project's that cannot be read."""
    finding = Finding(kind="project-file", subject=subject, detail=detail, cure=cure)
    return Failure(f"{subject} cannot be read: {detail}", finding)
