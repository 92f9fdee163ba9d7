"""A check that passes when the started staging app answers as expected."""

from typing import TYPE_CHECKING

from services.validator.checks.context import Context, Seen
from shared.contracts.projects import HttpCheck

if TYPE_CHECKING:
    import httpx

_BODY_BYTES_MAX = 1 << 20


async def run(check: HttpCheck, context: Context) -> Seen:
    """Ask the app once. A redirect is an answer, never followed: it may lead to another host."""
    # It comes with the first such check, and a validator at rest does without its memory.
    import httpx

    if context.address is None:
        return Seen("failed", "staging has no address: its `activate` printed no `address=http://…`")
    url = context.address.rstrip("/") + check.path
    asked = f"{check.method} {check.path}"
    try:
        async with (
            httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=check.deadline_s) as client,
            client.stream(check.method, url, content=_body(check), headers=_headers(check)) as response,
        ):
            text = await _text(response)
    except (httpx.TransportError, httpx.InvalidURL, httpx.DecodingError) as error:
        return Seen("failed", f"{asked}: no answer from {context.address}: {type(error).__name__}: {error}")
    faults = _faults(check, response, text)
    if not faults:
        return Seen("passed", f"{asked} answered {response.status_code}")
    return Seen("failed", f"{asked} {' and '.join(faults)}", await context.keep(text))


def _faults(check: HttpCheck, response: "httpx.Response", text: str) -> list[str]:
    faults = []
    if response.status_code != check.status:
        to = f" to {response.headers['location']}" if "location" in response.headers else ""
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
    """The body's beginning: a page that never ends must not fill the memory."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= _BODY_BYTES_MAX:
            break
    return bytes(body[:_BODY_BYTES_MAX]).decode(response.charset_encoding or "utf-8", errors="replace")
