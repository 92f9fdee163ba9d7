"""Plaintext stays on this machine; elsewhere it is refused unless somebody says that it may be so.

A password, a plan or a token that crosses a network in the clear belongs to everybody on the way.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from shared.clients.libpq import weakness

ALLOW_PLAINTEXT = "UPGRADES_ALLOW_PLAINTEXT"
"""The one variable that says so, for a network that encrypts by itself or for a test."""


class Plaintext(ValueError):
    """Something would leave this machine unencrypted; the text names the variable, the host and the cure."""


def is_allowed(environ: Mapping[str, str]) -> bool:
    """The variable says so, for a program that has no settings of its own."""
    return environ.get(ALLOW_PLAINTEXT, "").strip().lower() in {"1", "true", "yes", "on", "t", "y"}


def is_loopback(host: str) -> bool:
    """True for this machine only: its loopback addresses, `localhost`, a Unix socket's folder.

    Other names are not looked up: what they mean is decided by somebody else's name server.
    """
    name = host.strip("[]").rstrip(".").lower()
    if name.startswith(("/", "@")) or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def refuse_plaintext(variable: str, host: str, danger: str, cure: str, *, allowed: bool) -> None:
    """Raises `Plaintext` unless the host is this machine or `allowed` says that it may be so."""
    if allowed or is_loopback(host):
        return
    raise Plaintext(
        f"{variable}: {danger} {host} unencrypted: {cure};"
        f" or set {ALLOW_PLAINTEXT}=true if the network there is encrypted by itself"
    )


def refuse_plaintext_url(variable: str, url: str, what: str, *, allowed: bool) -> None:
    """As `refuse_plaintext`, for a URL that is plaintext when it begins with `http://`."""
    parts = urlsplit(url)
    if parts.scheme == "http":
        cure = "use https://"
        refuse_plaintext(variable, parts.hostname or "", f"{what} would go to", cure, allowed=allowed)


def refuse_plaintext_database(variable: str, url: str, environ: Mapping[str, str], *, allowed: bool) -> None:
    """As `refuse_plaintext`, for every server of a PostgreSQL URL. Raises `UnusableUrl` too.

    `require` is enough: it cannot be talked out of TLS. It proves nothing about the server, though.
    """
    for host, mode in weakness(url, environ):
        refuse_plaintext(
            variable,
            host,
            f"with sslmode={mode} the connection may go to",
            "add ?sslmode=verify-full&sslrootcert=/path/ca.pem, which proves the server too, or at least"
            " sslmode=require",
            allowed=allowed,
        )


def refuse_plaintext_store(variable: str, url: str, environ: Mapping[str, str], *, allowed: bool) -> None:
    """As `refuse_plaintext`, for the content store: its URL, or the endpoint of its provider's client."""
    refuse_plaintext_url(variable, url, "packages and plans", allowed=allowed)
    for prefix, names in _ENDPOINTS.items():
        for name in names if url.startswith(prefix) else ():
            refuse_plaintext_url(name, environ.get(name, ""), "packages and plans", allowed=allowed)


_AWS = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
_AZURE = ("AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
_ENDPOINTS = {"s3": _AWS, "az": _AZURE, "adl": _AZURE, "abfs": _AZURE}
"""Where the clients of object stores look for another address than their provider's."""
