"""By which name we are asked: a page of somebody else's must not reach this machine through a browser.

Whoever owns a name may let it point to 127.0.0.1. Then a browser takes us for that site, and its scripts read
our answers (DNS rebinding). The Host header still has the name.
"""

from ipaddress import ip_address
from socket import gethostname

from starlette.exceptions import HTTPException
from starlette.types import Scope

_SHOWN_CHARACTERS = 100


class Hosts:
    """The names of one listener, with commas; without any, those of this machine for who asks on loopback."""

    def __init__(self, names: str) -> None:
        found = (name.strip().lower().rstrip(".") for name in names.split(","))
        self._names = frozenset(name for name in found if name)
        self._own = ("localhost", gethostname().lower())

    def require(self, scope: Scope) -> None:
        """Raises HTTPException 421 when the request names another host.

        An address is not a name, so it always passes: probes ask by it, and nobody can point it elsewhere.
        """
        given = dict(scope["headers"]).get(b"host")
        if given is None:
            # HTTP/1.0: a probe, never a browser.
            return
        host = _name(given.decode("latin-1"))
        if host in self._names or _is_address(host) or host in self._own or host.endswith(".localhost"):
            return
        if not self._names and not _on_loopback(scope):
            return
        raise HTTPException(
            421,
            f"nobody is called {host[:_SHOWN_CHARACTERS]!r} here: ask by a name that this service has, or"
            " have its operator add the name to UPGRADES_HTTP_HOSTS",
        )


def _name(given: str) -> str:
    """The host without its port and without the root's dot."""
    host = given.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _on_loopback(scope: Scope) -> bool:
    """True when the connection came in at an address of this machine alone."""
    own = (scope.get("server") or ("", 0))[0]
    try:
        return ip_address(own).is_loopback
    except ValueError:
        return False
