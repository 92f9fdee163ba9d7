"""Reading an issuer's keys over HTTP: bounded in size and time, without redirects, over TLS.

What answers may be a partner's machine: it can cost a few seconds of one background task and no more. Its
discovery document may not send us elsewhere, for instance to an address of our own network.

Source: OpenID Connect Discovery 1.0, sections 3 and 4.3.
"""

import asyncio
import json
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from shared.plaintext import Plaintext, refuse_plaintext_url

if TYPE_CHECKING:
    import httpx

BYTES_MAX: Final = 256 * 1024
WITHIN_S: Final = 5.0
"""For all of one reading: the discovery document and the keys."""
_OK = 200
DISCOVERY: Final = "/.well-known/openid-configuration"
VARIABLE: Final = "UPGRADES_TOKEN_ISSUERS"


class Unreadable(Exception):
    """Keys that were not to be had; the text says why, without anything that the other side has sent."""


def require_address(url: str, *, allow_plaintext: bool) -> None:
    """Raises ValueError unless keys may be read there: https, or plaintext where that may be."""
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError(f"{VARIABLE}: {url[:100]!a} is not an https:// address")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError(f"{VARIABLE}: the address on {parts.hostname} has a password or a fragment in it")
    refuse_plaintext_url(VARIABLE, url, "whose keys prove tokens", allowed=allow_plaintext)


class KeyClient:
    """Reads JWK Sets and discovery documents."""

    def __init__(self, ca_file: str | None, *, allow_plaintext: bool, within_s: float = WITHIN_S) -> None:
        self._ca_file = ca_file
        self._allow_plaintext = allow_plaintext
        self._within_s = within_s
        self._context: ssl.SSLContext | None = None

    async def keys_at(self, url: str) -> str:
        """The text of the JWK Set at this URL. Raises `Unreadable`."""
        async with self._bounded() as client:
            return (await self._read(client, url, "the JWK Set")).decode(errors="replace")

    async def keys_of(self, issuer: str, key_hosts: Sequence[str]) -> str:
        """The text of the JWK Set that this issuer's discovery document names. Raises `Unreadable`."""
        async with self._bounded() as client:
            document = await self._read(client, issuer.rstrip("/") + DISCOVERY, "the discovery document")
            url = keys_url(document, issuer, key_hosts, allow_plaintext=self._allow_plaintext)
            return (await self._read(client, url, "the JWK Set")).decode(errors="replace")

    def _bounded(self) -> "_Bounded":
        if self._context is None:
            self._context = ssl.create_default_context(cafile=self._ca_file)
        return _Bounded(self._context, self._within_s)

    async def _read(self, client: "httpx.AsyncClient", url: str, what: str) -> bytes:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with client.stream("GET", url, headers=headers) as response:
            if response.is_redirect:
                raise Unreadable(
                    f"{what} is elsewhere ({response.status_code}), and redirects are not followed"
                )
            if response.status_code != _OK:
                raise Unreadable(f"{what} was answered with status {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise Unreadable(f"{what} is compressed, which was not asked for")
            data = bytearray()
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > BYTES_MAX:
                    raise Unreadable(f"{what} has more than {BYTES_MAX} bytes")
        return bytes(data)


class _Bounded:
    """A client for one reading: all of it ends in time, and every fault is an `Unreadable`."""

    def __init__(self, context: ssl.SSLContext, within_s: float) -> None:
        import httpx

        self._within_s = within_s
        self._client = httpx.AsyncClient(verify=context, follow_redirects=False, timeout=within_s)
        self._deadline = asyncio.timeout(within_s)

    async def __aenter__(self) -> "httpx.AsyncClient":
        await self._deadline.__aenter__()
        return self._client

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        import httpx

        try:
            try:
                await self._client.aclose()
            finally:
                await self._deadline.__aexit__(kind, error, trace)
        except TimeoutError as slow:
            raise Unreadable(f"there was no whole answer within {self._within_s:.0f} s") from slow
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL | OSError):
            raise Unreadable(f"there was no answer ({type(error).__name__})") from error


def keys_url(document: bytes, issuer: str, key_hosts: Sequence[str], *, allow_plaintext: bool) -> str:
    """Where the keys are by this discovery document. Raises `Unreadable` unless it may say that."""
    try:
        found = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise Unreadable("the discovery document is not JSON") from error
    if not isinstance(found, dict) or found.get("issuer") != issuer:
        raise Unreadable(
            "the discovery document is another issuer's: its `issuer` is not the one of the settings"
        )
    url = found.get("jwks_uri")
    if not isinstance(url, str):
        raise Unreadable("the discovery document names no `jwks_uri`")
    try:
        require_address(url, allow_plaintext=allow_plaintext)
        own, there = urlsplit(issuer), urlsplit(url)
        elsewhere = (own.hostname, _port(own)) != (there.hostname, _port(there))
    except Plaintext as error:
        raise Unreadable("the `jwks_uri` of the discovery document is not https://") from error
    except ValueError as error:
        raise Unreadable("the `jwks_uri` of the discovery document is not an address") from error
    if there.scheme != own.scheme and there.scheme != "https":
        raise Unreadable("the `jwks_uri` of the discovery document is not https://")
    if elsewhere and there.netloc not in key_hosts:
        raise Unreadable(
            "the `jwks_uri` of the discovery document is on another host: name that one in `key_hosts`"
        )
    return url


def _port(parts: Any) -> int:
    port: int | None = parts.port
    return port or (443 if parts.scheme == "https" else 80)
