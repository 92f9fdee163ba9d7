"""libpq's parameters in a PostgreSQL URL, for a driver and for programs that each know a part of them.

Source: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_DEFAULT_PORT = 5432
_SYSTEM = "system"

_SAFE_TO_LEAVE_OUT = {
    # Every connection of ours has such settings of its own.
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    # The driver always speaks UTF-8, says the host's name, and never compresses.
    "client_encoding",
    "sslsni",
    "sslcompression",
}
_WEAKER_IS_ALL_WE_DO = {
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
    "sslcertmode": ("allow",),
    "load_balance_hosts": ("disable",),
}
"""Of these the driver does what is named here and nothing else: more must not be promised."""
_NOT_DONE = {
    "hostaddr",
    "require_auth",
    "requirepeer",
    "requiressl",
    "replication",
    "service",
    "servicefile",
    "passfile",
    "sslcrldir",
    "sslkeylogfile",
    "gssdelegation",
    "min_protocol_version",
    "max_protocol_version",
}
_FOR_TLS = (
    "leave it out and use sslmode=verify-full with sslrootcert, which proves the server by its certificate"
)

_VARIABLES = {
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "krbsrvname": "PGKRBSRVNAME",
}


class UnusableUrl(ValueError):
    """A PostgreSQL URL asks for something that we cannot do; the text names the parameter and the cure."""


@dataclass(frozen=True)
class Address:
    """One of the servers that a URL names; the host is a folder for a Unix socket."""

    host: str
    port: int


def query_of(url: str) -> dict[str, str]:
    """What stands behind the question mark, as libpq reads it: a plus sign is a plus sign."""
    pairs = (one.partition("=") for one in urlsplit(url).query.split("&"))
    return {unquote(key): unquote(value) for key, _, value in pairs if value}


def parameters(url: str) -> dict[str, str]:
    """The URL's parameters, each with its last value; an empty one counts as left out.

    Raises `UnusableUrl` for what cannot be done as libpq would do it.
    """
    found = query_of(url)
    for name, value in found.items():
        can = _WEAKER_IS_ALL_WE_DO.get(name)
        if can is not None and value not in can:
            raise UnusableUrl(
                f"{name}={value} in a PostgreSQL URL is not supported: leave it out; {_FOR_TLS}"
            )
        if name in _NOT_DONE:
            raise UnusableUrl(f"{name} in a PostgreSQL URL is not supported: leave it out")
    mode = found.get("sslmode")
    if mode is not None and mode not in SSL_MODES:
        raise UnusableUrl(f"sslmode={mode} in a PostgreSQL URL is none of {', '.join(SSL_MODES)}")
    for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
        if name in found and found[name] != _SYSTEM and not Path(found[name]).is_file():
            raise UnusableUrl(f"{name} in a PostgreSQL URL names {found[name]}, which is not a file here")
    if found.get("sslrootcert") == _SYSTEM and found.setdefault("sslmode", "verify-full") != "verify-full":
        raise UnusableUrl("sslrootcert=system in a PostgreSQL URL needs sslmode=verify-full")
    return found


def addresses(url: str) -> list[Address]:
    """The servers in the order in which they are tried; none when the URL leaves them to the environment."""
    parts = urlsplit(url)
    asked = query_of(url)
    listed = parts.netloc.rpartition("@")[2] or asked.get("host", "")
    ports = asked.get("port", "").split(",")
    return [
        _address(one, ports[number] if number < len(ports) else ports[-1])
        for number, one in enumerate(listed.split(","))
        if one
    ]


def driver_arguments(
    url: str, connect_within_s: float, server_settings: Mapping[str, str], *, of_others: bool = False
) -> dict[str, Any]:
    """What `asyncpg.connect` takes to connect as libpq would: `dsn`, `timeout`, `server_settings`, …

    Our own `server_settings` win over the URL's, but for the application's name. With `of_others`, which is
    for a URL that somebody else wrote, no password of this process or its user goes to that server.
    Raises `UnusableUrl`.
    """
    asked = parameters(url)
    for name in (*_SAFE_TO_LEAVE_OUT, *_WEAKER_IS_ALL_WE_DO):
        asked.pop(name, None)
    within_s = asked.pop("connect_timeout", None)
    fallback = asked.pop("fallback_application_name", None)
    named = asked.pop("application_name", fallback)
    arguments: dict[str, Any] = {
        "timeout": connect_within_s if within_s is None else _seconds(within_s, connect_within_s),
        "server_settings": {**server_settings, **({} if named is None else {"application_name": named})},
    }
    if asked.get("sslrootcert") == _SYSTEM:
        arguments["ssl"] = _system_context(asked)
    parts = urlsplit(url)
    if of_others and ":" not in parts.netloc.rpartition("@")[0] and "password" not in asked:
        # None would be PGPASSWORD, or what the user's password file has for such a host.
        arguments["password"] = ""
    query = urlencode(asked, quote_via=quote)
    arguments["dsn"] = urlunsplit(parts._replace(scheme="postgresql", query=query))
    return arguments


def program_variables(url: str) -> dict[str, str]:
    """The URL's parameters as the variables of PostgreSQL's own programs, without address, name and password.

    Raises `UnusableUrl`.
    """
    return {_VARIABLES[name]: value for name, value in parameters(url).items() if name in _VARIABLES}


def weakness(url: str, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The hosts to which a connection may go unencrypted, and the `sslmode` that lets it."""
    mode = parameters(url).get("sslmode") or environ.get("PGSSLMODE") or "prefer"
    if mode in SSL_MODES[SSL_MODES.index("require") :]:
        return
    listed = [one.host for one in addresses(url)] or environ.get("PGHOST", "localhost").split(",")
    for host in listed:
        yield host, mode


def _address(text: str, port: str) -> Address:
    text = unquote(text)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.lstrip(":") or port
    elif text.startswith("/"):
        host = text
    else:
        host, _, own = text.partition(":")
        port = own or port
    if port and not port.isdigit():
        raise UnusableUrl(f"the port {port!r} in a PostgreSQL URL is not a number")
    return Address(host, int(port or _DEFAULT_PORT))


def _seconds(text: str, at_most_s: float) -> float:
    """libpq's `connect_timeout`: whole seconds, of which 0 and less mean as long as it takes."""
    try:
        seconds = int(text)
    except ValueError:
        raise UnusableUrl(f"connect_timeout={text} in a PostgreSQL URL is not a number of seconds") from None
    return float(seconds) if seconds > 0 else at_most_s


def _system_context(asked: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    certificate = asked.get("sslcert")
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, asked.get("sslkey"), lambda: asked.get("sslpassword", ""))
        except (OSError, ssl.SSLError) as error:
            raise UnusableUrl(f"sslcert and sslkey in a PostgreSQL URL cannot be used: {error}") from None
    return context
