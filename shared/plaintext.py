"""Plaintext stays on this machine; elsewhere it is refused unless somebody says that it may be so.

A password, a plan or a token that crosses a network in the clear belongs to everybody on the way.
"""

import ipaddress

ALLOW_PLAINTEXT = "UPGRADES_ALLOW_PLAINTEXT"
"""The one variable that says so, for a network that encrypts by itself or for a test."""


class Plaintext(ValueError):
    """Something would leave this machine unencrypted; the text names the variable, the host and the cure."""


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
