"""A TCP port of 127.0.0.1 for something that we start."""

from __future__ import annotations

import random
import socket

from local.process import CannotStart

# Below the ports that Linux (32768) and macOS (49152) give to outgoing connections. So no client can take a
# server's port while that server is down, nor reach itself by connecting to the very port it was given.
_LOWEST, _HIGHEST = 20_000, 32_767


def free_port() -> int:
    """A port (20000 to 32767) that nothing listens on at this moment. Raises OSError when there is none."""
    for port in random.sample(range(_LOWEST, _HIGHEST + 1), k=200):
        if is_free(port):
            return port
    raise OSError(f"no free port among 200 tried between {_LOWEST} and {_HIGHEST}")


def is_free(port: int) -> bool:
    """Does nothing listen on this port of 127.0.0.1 at this moment?"""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do; without it a port whose old connections still linger counts as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def require_free(port: int) -> None:
    """Raises CannotStart when something listens there, which else would answer in our program's place."""
    if not is_free(port):
        raise CannotStart(f"port {port} is taken: stop what listens there, or choose another port")
