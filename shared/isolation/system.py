"""The system as a command sees it: programs, certificates, a few files, and nobody's settings or keys."""

import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.isolation.network import Gateway, hosts_file
from shared.isolation.runner import LAUNCHER, WATCHING

CHECKOUT, HOME, SOURCE = "/tmp/checkout", "/tmp/home", "/source"
LAUNCHER_INSIDE, WATCHING_INSIDE = "/launcher.py", "/watching.py"
SHARED_MEMORY_BYTES = 64 << 20
OF_ROOT = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID")
"""The rights that the launcher needs until it becomes the command's user."""
USER = 1000
"""Inside, where we are not root and have one user only."""
LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_USERS = range(1_000_000_000, 1_900_000_000)

# Of a distribution's folders for certificates only these: others beside them hold private keys.
_TRUST = (
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/var/lib/ca-certificates",
)
_SYSTEM = ("/usr", "/etc/alternatives", *_TRUST)
_HIDDEN = ("/usr/local/etc", "/usr/etc")
"""Below what is shown, but settings of the machine, where tokens and passwords stand."""
# Copied, as a mount of each would cost more.
_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/ssl/openssl.cnf", "/etc/timezone")


def shown(readable: Sequence[str]) -> tuple[str, ...]:
    """What is mounted read-only, at its own place. A path that is not there is left out."""
    return tuple(path for path in (*_SYSTEM, *_pythons(), *readable) if os.path.exists(path))


def hidden(readable: Sequence[str]) -> tuple[str, ...]:
    """What is shown empty, unless it is asked for by its name."""
    there = (path for path in _HIDDEN if os.path.isdir(path) and not os.path.islink(path))
    return tuple(path for path in there if path not in readable)


def copied() -> dict[str, bytes]:
    """Small files by their place, with the launcher's among them."""
    files = {path: Path(path) for path in _FILES} | {LAUNCHER_INSIDE: LAUNCHER, WATCHING_INSIDE: WATCHING}
    return {path: file.read_bytes() for path, file in files.items() if file.is_file()}


def made(gateway: Gateway) -> dict[str, bytes]:
    """Files that say to a command who it is and where its destinations are."""
    return {
        "/etc/hosts": hosts_file(gateway.names).encode(),
        "/etc/passwd": f"check:x:{USER}:{USER}::{HOME}:/bin/sh\n".encode(),
        "/etc/group": f"check:x:{USER}:\n".encode(),
        "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
    }


def rights_for_network(gateway: Gateway) -> tuple[str, ...]:
    """The capabilities with which the launcher makes the sockets of the destinations."""
    low = any(each.port < 1024 for each in gateway.listening)
    aliases = any(each.alias for each in gateway.listening)
    return (("NET_BIND_SERVICE",) if low else ()) + (("NET_ADMIN",) if aliases else ())


def free_user(users: range = _USERS) -> int:
    """A user id that nobody else has; by chance, as workers on one machine do not know of each other."""
    return secrets.choice(users)


def _pythons() -> list[str]:
    """Where this Python and what is installed beside it lie, as far as that is not the system's."""
    return [path for path in dict.fromkeys((sys.base_prefix, sys.prefix)) if not path.startswith("/usr/")]
