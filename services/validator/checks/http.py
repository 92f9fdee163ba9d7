"""A check that passes when the started staging app answers as expected."""

import codecs
import zlib
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from services.validator.checks.context import Context, Seen
from shared.addresses import AddressRefused, AppAddress, BadAddress, reachable, read_address
from shared.contracts.projects import HttpCheck

if TYPE_CHECKING:
    import httpx

_BODY_BYTES_MAX = 1 << 20
_SHOWN_CHARACTERS = 300
_ZIPPED = ("gzip", "x-gzip", "deflate")
_GZIP_OR_ZLIB = 47


async def run(check: HttpCheck, context: Context) -> Seen:
    """Ask the app once, at the address that staging printed and at no other.

    The host is resolved once and asked at that address. A redirect is an answer, never followed: it may lead
    to another host.
    """
    if context.address is None:
        return Seen("failed", "staging has no address: its `activate` printed no `address=http://…`")
    asked = f"{check.method} {check.path}"
    try:
        app = read_address(context.address)
        address = await reachable(app.host, app.port, context.networks)
    except BadAddress as error:
        return Seen("failed", f"{asked}: staging's address is not taken: {error}")
    except AddressRefused as error:
        cure = (
            "publish staging elsewhere, or ask the operator to add its network to UPGRADES_STAGING_NETWORKS"
        )
        return Seen("failed", f"{asked}: not asked, as {error}; {cure}")
    except (OSError, TimeoutError) as error:
        return Seen("failed", f"{asked}: {context.address} has no address now: {error}")
    at = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    return await _ask(check, context, app, f"{app.scheme}://{at}:{app.port}{app.path}{check.path}")


async def _ask(check: HttpCheck, context: Context, app: AppAddress, url: str) -> Seen:
    # It comes with the first such check, and a validator at rest does without its memory.
    import httpx

    asked = f"{check.method} {check.path}"
    try:
        async with (
            httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=check.deadline_s) as client,
            client.stream(
                check.method,
                url,
                content=_body(check),
                headers={"Host": app.authority, "Accept-Encoding": "identity", **_headers(check)},
                # TLS proves the name, although the connection goes to the address.
                extensions={"sni_hostname": app.host},
            ) as response,
        ):
            text = await _text(response)
    except (httpx.TransportError, httpx.InvalidURL, zlib.error) as error:
        return Seen("failed", f"{asked}: no answer from {context.address}: {type(error).__name__}: {error}")
    faults = _faults(check, response, text)
    if not faults:
        return Seen("passed", f"{asked} answered {response.status_code}")
    return Seen("failed", f"{asked} {' and '.join(faults)}", await context.keep(text))


def _faults(check: HttpCheck, response: "httpx.Response", text: str) -> list[str]:
    faults = []
    if response.status_code != check.status:
        location = response.headers.get("location")
        to = f" to {location[:_SHOWN_CHARACTERS]}" if location is not None else ""
        faults.append(f"answered {response.status_code}{to}, expected {check.status}")
    if check.contains is not None and check.contains not in text:
        faults.append(f"does not contain {check.contains!r}")
    return faults


def _body(check: HttpCheck) -> bytes | None:
    return None if check.body is None else check.body.encode()


def _headers(check: HttpCheck) -> dict[str, str]:
    if check.body is None:
        return {}
    is_json = check.body.lstrip().startswith(("{", "["))
    return {"Content-Type": "application/json" if is_json else "application/x-www-form-urlencoded"}


async def _text(response: "httpx.Response") -> str:
    """The body's beginning: a page that never ends, or that grows when unpacked, must not fill the memory."""
    zipped = response.headers.get("content-encoding", "").strip().lower() in _ZIPPED
    unpacking = zlib.decompressobj(_GZIP_OR_ZLIB) if zipped else None
    body = bytearray()
    async for chunk in response.aiter_raw():
        left = _BODY_BYTES_MAX - len(body)
        body += chunk[:left] if unpacking is None else unpacking.decompress(chunk, left)
        if len(body) >= _BODY_BYTES_MAX:
            break
    text = bytes(body).decode(_encoding(response.charset_encoding), errors="replace")
    # No database takes the character, and what a check has seen is kept in several.
    return text.replace("\0", "\ufffd")


def _encoding(named: str | None) -> str:
    """The encoding that the answer names if it is one of text; UTF-8 for any other word."""
    try:
        codec = codecs.lookup(named or "utf-8")
        # Python also has codecs that pack, or that turn text into text.
        "".encode(codec.name)
    except (LookupError, ValueError):
        return "utf-8"
    return codec.name if codec.name not in ("idna", "punycode") else "utf-8"
