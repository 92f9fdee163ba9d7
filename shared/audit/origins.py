"""Where a request comes from, for as long as it is answered: what is decided meanwhile is noted under it."""

from contextvars import ContextVar
from dataclasses import dataclass, field

from shared.contracts.refusals import Refusal


@dataclass
class Asked:
    """One request over HTTP. `address` is the client's, as a trusted proxy says where there is one."""

    address: str
    noted: bool = False
    """A handler has judged it, so it has its entry."""
    project: str | None = None
    """Whose things it asked for, where they were hidden from it: that Project hears of it."""
    hidden: bool = False
    """It asked for what there is, or might be, and its actor may not see."""
    title: str = ""
    refusals: tuple[Refusal, ...] = ()
    details: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http {self.address}"


_asked: ContextVar[Asked | None] = ContextVar("asked", default=None)


def begin(address: str) -> Asked:
    """From here on this task answers a request from that address."""
    asked = Asked(address)
    _asked.set(asked)
    return asked


def asked() -> Asked | None:
    """The request that this task answers; none when it answers none."""
    return _asked.get()


def judged() -> None:
    """A handler has judged this request."""
    if (request := _asked.get()) is not None:
        request.noted = True


def hid(project: str | None) -> None:
    """This request was answered as if there were nothing, for its actor may not see it; whose that is."""
    if (request := _asked.get()) is not None:
        request.hidden, request.project = True, project


def refused(title: str, refusals: tuple[Refusal, ...]) -> None:
    """This request is answered with a problem of this title, and with these refusals."""
    if (request := _asked.get()) is not None:
        request.title, request.refusals = title, refusals


def concerns(**details: str) -> None:
    """What this request is about, for its entry."""
    if (request := _asked.get()) is not None:
        request.details.update(details)
