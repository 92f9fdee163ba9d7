"""The headers of every answer: browsers guess nothing, keep nothing, frame nothing and run nothing."""

from collections.abc import Iterable

from starlette.types import Message, Scope

_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_POLICY = b"default-src 'none'; frame-ancestors 'none'"
# The page of the documents is FastAPI's: an inline script, and a program from this address.
_POLICY_OF_DOCS = (
    b"default-src 'none'; frame-ancestors 'none'; connect-src 'self'; script-src 'unsafe-inline'"
    b" https://cdn.jsdelivr.net; style-src 'unsafe-inline' https://cdn.jsdelivr.net;"
    b" img-src data: https://fastapi.tiangolo.com"
)
_HSTS = (b"strict-transport-security", b"max-age=31536000")


def security_headers(path: str, scheme: str) -> list[tuple[bytes, bytes]]:
    """For an answer at this path."""
    policy = _POLICY_OF_DOCS if path == "/docs" else _POLICY
    found = [*_ALWAYS, (b"content-security-policy", policy)]
    return [*found, _HSTS] if scheme == "https" else found


def secured(message: Message, scope: Scope, *, closes: bool) -> Message:
    """The start of an answer with these headers; `closes` ends the connection after it."""
    headers: Iterable[tuple[bytes, bytes]] = message.get("headers", ())
    added = security_headers(scope["path"], scope.get("scheme") or "http")
    if closes:
        added.append((b"connection", b"close"))
    names = {name for name, _ in added}
    return {**message, "headers": [*(each for each in headers if each[0].lower() not in names), *added]}
