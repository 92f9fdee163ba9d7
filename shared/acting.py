"""For whom a task works: what is done for one waits for its own, and takes no place of another's."""

from contextvars import ContextVar

_actor: ContextVar[str | None] = ContextVar("actor", default=None)


def acting_for(actor: str) -> None:
    """From here on this task, and those that it starts, work for this actor."""
    _actor.set(actor)


def acting() -> str | None:
    """For whom this task works; none when nobody has said."""
    return _actor.get()
