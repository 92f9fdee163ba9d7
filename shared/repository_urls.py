"""A Project's repository as people write it: what is taken, and when two of them are the same one."""

import os
import posixpath
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from shared.addresses import LOOPBACK, Address, Network, is_local_name, judged, literal
from shared.forge_paths import one_spelling

LENGTH_MAX = 1000
KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
"""The keys of hosts over ssh, as the machine's operator keeps them."""
_SCP = re.compile(r"(?:(?P<user>[^@/:]*)@)?(?P<host>\[[^\]/]*\]|[^@/:\[\]]+):(?P<path>[^:].*)")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_HELPER = re.compile(r"[A-Za-z0-9+.-]*::")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_CURE = "write https://host/path or ssh://git@host/path"
_CREDENTIAL_CURE = (
    'take it out of the URL, and write `credential = "secret:<name>"` at the top of upgradepath.toml; the'
    " operator keeps its value for your Project in the scope `repository`"
)


class BadRepository(Exception):
    """Not a repository that is taken. Neither message nor cure repeats it: a password may be in it."""

    def __init__(self, reason: str, cure: str = _CURE) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cure = cure


@dataclass(frozen=True)
class RepositoryRules:
    """What the operator allows. `hosts` empty means every public one."""

    local: bool = False
    """Paths and `file://` of this machine, and hosts on it: for a world on one machine alone."""
    hosts: tuple[str, ...] = ()

    @property
    def networks(self) -> tuple[Network, ...]:
        return LOOPBACK if self.local else ()


PUBLIC_ONLY = RepositoryRules()


@dataclass(frozen=True)
class Repository:
    """A repository that is taken. `path` is decoded, without the end `.git`."""

    kind: Literal["https", "ssh", "file"]
    host: str
    port: int | None
    user: str | None
    path: str

    @property
    def identity(self) -> str:
        """The same for every way to write the same repository.

        Hosts that serve one repository over https and ssh do so on ports of their own choice, and most take
        capitals and small letters of a path for the same: what may be the same counts as the same.
        """
        if self.kind == "file":
            return f"file:{self.path}"
        return one_spelling(
            self.host, self.path.casefold(), self.user, is_name=lambda host: literal(host) is None
        )


def read_repository(text: str, rules: RepositoryRules) -> Repository:
    """The repository that `text` names. Raises `BadRepository` for one that is not taken."""
    if not text.strip():
        raise BadRepository("the repository is blank")
    if len(text) > LENGTH_MAX:
        raise BadRepository(f"the repository has more than {LENGTH_MAX} characters")
    if text != text.strip() or any(unicodedata.category(one)[0] == "C" for one in text):
        raise BadRepository("the repository holds a space at an end, or a control or invisible character")
    if text.startswith("-"):
        raise BadRepository("a repository that begins with a hyphen would be read as an option")
    if _HELPER.match(text):
        raise BadRepository("a repository over a helper program (`name::…`) is not taken")
    if "://" in text:
        return _of_url(text, rules)
    scp = _SCP.fullmatch(text)
    if scp is not None and not text.startswith("/"):
        if "@" in scp["path"]:
            raise BadRepository("the repository has a password in it, or a path with @", _CREDENTIAL_CURE)
        return _remote("ssh", scp["host"], None, scp["user"], scp["path"], rules)
    return _local(text, rules)


def repository_identity(text: str) -> str | None:
    """The identity of what was registered some day, whatever is taken today; none for what never is."""
    try:
        return read_repository(text, RepositoryRules(local=True)).identity
    except BadRepository:
        return None


def _of_url(text: str, rules: RepositoryRules) -> Repository:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadRepository("the repository is not a URL that can be read") from None
    scheme = parts.scheme.lower()
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise BadRepository(
            "the repository's URL has a query or a fragment, where tokens are hidden", _CREDENTIAL_CURE
        )
    if parts.password is not None or (scheme != "ssh" and "@" in parts.netloc):
        raise BadRepository("the repository's URL has a user or password in it", _CREDENTIAL_CURE)
    if scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise BadRepository("a file:// URL names no host")
        return _local(unquote(parts.path), rules)
    host = parts.netloc.rpartition("@")[2]
    host = host if host.endswith("]") else re.sub(r":\d*\Z", "", host)
    match scheme:
        case "https" | "ssh":
            return _remote(scheme, host, port, parts.username, parts.path, rules)
        case _:
            raise BadRepository("only https and ssh repositories are taken")


def _remote(
    kind: Literal["https", "ssh"],
    host: str,
    port: int | None,
    user: str | None,
    path: str,
    rules: RepositoryRules,
) -> Repository:
    if user is not None and not _USER.fullmatch(user):
        raise BadRepository("the repository's user is not a plain name", _CREDENTIAL_CURE)
    name = _host(host, rules)
    if not _PATH.fullmatch(path):
        raise BadRepository("the repository's path holds characters that must be percent-encoded in a URL")
    return Repository(kind, name, port, user, _plain_path(path))


def _host(host: str, rules: RepositoryRules) -> str:
    address = literal(host)
    if address is not None:
        name = str(getattr(address, "ipv4_mapped", None) or address)
    elif _HOST.fullmatch(host) and len(host) <= 253:
        name = host.lower().rstrip(".")
    else:
        raise BadRepository("the repository's host is not a name or address")
    allowed = {one.lower().rstrip(".") for one in rules.hosts}
    if allowed and name not in allowed:
        raise BadRepository(
            f"repositories of {name} are not taken here",
            f"use one of {', '.join(sorted(allowed))}, or ask the operator for UPGRADES_REPOSITORY_HOSTS",
        )
    if address is not None:
        inside = judged(address, _networks(address, rules)) is not None
    else:
        # A name without a dot means a machine of the network around the worker.
        inside = not rules.local and (is_local_name(name) or ("." not in name and not allowed))
    if inside:
        raise BadRepository(
            "the repository's host is on the worker's own machine or network, not a public one",
            "use a public host, or ask the operator to name it in UPGRADES_REPOSITORY_HOSTS",
        )
    return name


def _networks(address: Address, rules: RepositoryRules) -> tuple[Network, ...]:
    """A host that the operator names may be in a private network, and never be the worker itself."""
    listed = bool(rules.hosts) and not address.is_loopback
    return (*rules.networks, *((ip_network(str(address)),) if listed else ()))


def _plain_path(path: str) -> str:
    decoded = _decoded(path)
    plain = posixpath.normpath("/" + decoded).lstrip("/")
    if ".." in decoded.split("/") or not plain or plain == ".":
        raise BadRepository("the repository's path is empty, or leaves its beginning with ..")
    return _without_end(plain, str.lower)


def _decoded(path: str) -> str:
    try:
        decoded = unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise BadRepository("the repository's path is not UTF-8 when it is decoded") from None
    if any(unicodedata.category(one)[0] == "C" for one in decoded) or "\\" in decoded or "%" in decoded:
        raise BadRepository("the repository's path holds a control character, a backslash or a percent sign")
    return unicodedata.normalize("NFC", decoded)


def _without_end(path: str, folded: Callable[[str], str]) -> str:
    while path.endswith("/") or folded(path).endswith(".git"):
        shorter = path.rstrip("/")
        shorter = shorter[:-4] if folded(shorter).endswith(".git") else shorter
        if not shorter or shorter == path:
            break
        path = shorter
    return path


def _local(text: str, rules: RepositoryRules) -> Repository:
    if not rules.local:
        raise BadRepository("a repository on this machine is not taken here: only https and ssh are")
    if not text.startswith("/"):
        raise BadRepository(
            "the repository is neither a URL nor a path from the root", "write the whole path"
        )
    path = unicodedata.normalize("NFC", os.path.realpath(text))
    return Repository("file", "", None, None, _without_end(path, lambda name: name))
