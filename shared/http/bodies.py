"""Request bodies: bounded in size before they are read, and in shape before they are parsed."""

import json
from itertools import accumulate

from starlette.types import Message, Receive, Scope

from shared.contracts.json_shape import outside_strings, values_in
from shared.contracts.refusals import Refusal
from shared.errors import Reject, invalid

JSON_BYTES_MAX = 1 << 20
JSON_DEPTH_MAX = 64
JSON_VALUES_MAX = 20_000

_QUOTES_MAX = 5 * JSON_VALUES_MAX
_DIGITS_MAX = 1000

_BRACKETS = bytes(sign for sign in range(256) if sign not in b"[]{}")
_ALL_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_STEP = {ord(sign): step for sign, step in (("[", 1), ("{", 1), ("]", -1), ("}", -1))}


class BodyTooLarge(Exception):
    """The body has more bytes than this route takes."""

    def __init__(self, bytes_max: int) -> None:
        size = f"{bytes_max >> 20} MiB" if bytes_max >= 1 << 20 else f"{bytes_max} bytes"
        super().__init__(f"the body has more than {size}")
        self.refusal = Refusal(
            kind="invalid",
            reason=str(self),
            field="body",
            cure=f"this route takes at most {size}: leave out what need not be sent",
        )


def announced_bytes(scope: Scope) -> int | None:
    """The Content-Length. None where the length is not told beforehand; 0 where there is no body."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return None
    # The server has refused what is not a number.
    return int(headers.get(b"content-length", b"0"))


class BoundedBody:
    """The body of one request, counted while it is read."""

    def __init__(self, scope: Scope, receive: Receive, bytes_max: int) -> None:
        self._receive = receive
        self._bytes_max = bytes_max
        self._announced = announced_bytes(scope)
        self._seen = 0
        self.is_read = self._announced == 0
        """Nothing of it is left on the connection."""

    async def receive(self) -> Message:
        """The next ASGI message. Raises `BodyTooLarge` as soon as that is known."""
        if self._announced is not None and self._announced > self._bytes_max:
            raise BodyTooLarge(self._bytes_max)
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._bytes_max:
                raise BodyTooLarge(self._bytes_max)
            self.is_read = not message.get("more_body", False)
        return message

    async def whole(self) -> bytes | None:
        """All of it; None when the client went away. Raises `BodyTooLarge`."""
        parts = []
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
            if self.is_read:
                return b"".join(parts)


def screen_json(body: bytes) -> None:
    """Raises `Reject` for JSON that is too deep, has too many values, or holds what no database can.

    Every step is one pass in C, so that a body of any content takes a few hundredths of a second. What is not
    JSON at all is left to the parser, which names the place.
    """
    # A parser takes UTF-16 and UTF-32 for JSON, too, of which nothing below would understand a word.
    if b"\0" in body:
        raise _unfit("it has a NUL byte", "encode it as UTF-8")
    if body.count(b'"') > _QUOTES_MAX:
        raise _too_many()
    bare = outside_strings(body)
    if values_in(bare) > JSON_VALUES_MAX:
        raise _too_many()
    brackets = bare.translate(None, _BRACKETS)
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > JSON_DEPTH_MAX:
        raise _unfit(f"it nests deeper than {JSON_DEPTH_MAX} levels", "nest less")
    if b"NaN" in bare or b"Infinity" in bare:
        raise _unfit("NaN and Infinity are not JSON", "send a number, or null")
    if b"0" * (_DIGITS_MAX + 1) in bare.translate(_ALL_DIGITS_ALIKE):
        raise _unfit(f"a number has more than {_DIGITS_MAX} digits", "send a shorter one")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise _unfit(f"it is not UTF-8 at byte {error.start}", "encode it as UTF-8") from error
    if b"\\u0000" in body or b"\\ud" in body.lower():
        _screen_text(body)


def _screen_text(body: bytes) -> None:
    try:
        waiting = [json.loads(body)]
    except ValueError:
        return
    while waiting:
        match waiting.pop():
            case dict() as fields:
                waiting += [*fields, *fields.values()]
            case list() as items:
                waiting += items
            case str() as text:
                if "\x00" in text:
                    raise _unfit("it has the character NUL (\\u0000)", "leave it out")
                if any("\ud800" <= character <= "\udfff" for character in text):
                    raise _unfit("it has half of a pair (\\ud800 to \\udfff)", "send whole characters")


def _too_many() -> Reject:
    return _unfit(f"it has more than {JSON_VALUES_MAX} values", "send less at once")


def _unfit(reason: str, cure: str) -> Reject:
    return invalid(f"the body cannot be read: {reason}", field="body", cure=cure)
