"""One connection of the HTTP listener: nobody holds it by sending, or reading, slowly.

uvicorn bounds idle connections only. Here a head and a body must come in time, an answer must be read, small
chunks may not cost more than they carry, and connections are counted. An answer that comes before the whole
body ends the connection: it stays open for a moment, unread, so that the answer is not lost.
"""

import asyncio
import json
from collections import Counter
from http import HTTPStatus
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from shared.http.headers import security_headers
from shared.http.limits import address_key
from shared.settings import HttpSettings

HEAD_BYTES_MAX = 32 << 10
# So much at once is parsed within a few milliseconds, whatever it is.
_SLICE_BYTES = 16 << 10
# Of a chunked body, so much must be body: chunks of some thirty bytes at least.
_PAYLOAD_SHARE_MIN = 0.8
_LINGER_S = 1.0
_CROWD_MAX = 100
"""Connections above the bound are told so; still more are closed without a word."""


class GuardedConnection(H11Protocol):
    """See the module. `bounded` makes the class that a listener uses."""

    limits: ClassVar[HttpSettings]
    of_address: ClassVar[Counter[str]]

    # --- beginning and end -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._waits_for: str | None = None
        self._body_began = 0.0
        self._raw_bytes = self._payload_bytes = 0
        self._has_refused = False
        super().connection_made(_LingeringTransport(transport, self))  # type: ignore[arg-type]
        self._peer = address_key(self.client[0] if self.client else "?")
        self.of_address[self._peer] += 1
        crowd = len(self.connections) - self.limits.connections
        if crowd > _CROWD_MAX:
            self.transport.abort()
        elif crowd > 0:
            self._end_with(HTTPStatus.SERVICE_UNAVAILABLE, "there are too many connections; try again")
        elif self.of_address[self._peer] > self.limits.address_connections:
            self._end_with(HTTPStatus.TOO_MANY_REQUESTS, "there are too many connections from your address")
        else:
            self._watch(first=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_writing_timer()
        self.of_address[self._peer] -= 1
        if not self.of_address[self._peer]:
            del self.of_address[self._peer]
        super().connection_lost(exc)

    # --- what comes --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _SLICE_BYTES):
            if self.transport.is_closing():
                return
            piece = data[start : start + _SLICE_BYTES]
            was_body, before = self._waits_for == "body", self._body_bytes()
            super().data_received(piece)
            self._watch()
            is_body = was_body and self._waits_for == "body"
            if is_body and self._is_padding(len(piece), self._body_bytes() - before):
                self._end_with(HTTPStatus.BAD_REQUEST, "the chunks of the body are too small")

    def _body_bytes(self) -> int:
        return len(self.cycle.body) if self.cycle is not None else 0

    def _is_padding(self, raw: int, payload: int) -> bool:
        self._raw_bytes += raw
        self._payload_bytes += payload
        return self._raw_bytes > 4 * _SLICE_BYTES and (
            self._payload_bytes < _PAYLOAD_SHARE_MIN * self._raw_bytes
        )

    def on_response_complete(self) -> None:
        if self.conn.their_state is h11.SEND_BODY:
            # The rest of this body is for nobody.
            self.transport.close()
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        self._end_with(HTTPStatus.BAD_REQUEST, "this is not a valid HTTP/1.1 request")

    # --- time --------------------------------------------------------------------------------------

    def _watch(self, *, first: bool = False) -> None:
        """Let the timer run that fits: for a head that has begun, for a body, or none."""
        match self.conn.their_state:
            case h11.SEND_BODY:
                self._wait_for("body", self.limits.body_within_s)
            case h11.IDLE if first or self._waits_for == "head" or self.conn.trailing_data[0]:
                self._wait_for("head", self.limits.head_within_s)
            case _:
                self._stop_waiting()

    def _wait_for(self, part: str, within_s: float) -> None:
        if self._waits_for == part:
            return
        self._stop_waiting()
        self._waits_for = part
        self._body_began = self.loop.time()
        self._raw_bytes = self._payload_bytes = 0
        self._timer = self.loop.call_later(within_s, self._is_late)

    def _is_late(self) -> None:
        if self._waits_for == "body":
            # A large body has time for its size.
            due = self._body_began + self.limits.body_within_s
            due += self._payload_bytes / self.limits.body_bytes_per_s
            if (left := due - self.loop.time()) > 0:
                self._timer = self.loop.call_later(left, self._is_late)
                return
        self._end_with(
            HTTPStatus.REQUEST_TIMEOUT, f"the {self._waits_for} of the request did not come in time"
        )

    def _stop_waiting(self) -> None:
        self._waits_for = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_at_reader(self.transport.get_write_buffer_size() + 1)

    def resume_writing(self) -> None:
        self._stop_writing_timer()
        super().resume_writing()

    def _look_at_reader(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left >= before:
            self.transport.abort()
            return
        self._stop_writing_timer()
        self._write_timer = self.loop.call_later(self.limits.read_within_s, self._look_at_reader, left)

    def _stop_writing_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def is_cut_off(self) -> bool:
        """Whether the client may still be sending what nobody will read."""
        return self._has_refused or self.conn.their_state is h11.SEND_BODY

    # --- answers of its own ------------------------------------------------------------------------

    def _end_with(self, status: HTTPStatus, title: str) -> None:
        """Answer with a problem document, if no answer has begun, and close."""
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._has_refused = True
            self.transport.write(self._problem(status, title))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _problem(self, status: HTTPStatus, title: str) -> bytes:
        document = {"type": "about:blank", "status": status, "title": title, "detail": title, "refusals": []}
        body = json.dumps(document).encode()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *security_headers("", self.scheme or "http"),
        ]
        if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            headers.append((b"retry-after", b"1"))
        head = h11.Response(status_code=status, headers=headers, reason=status.phrase.encode())
        parts = (head, h11.Data(data=body), h11.EndOfMessage())
        return b"".join(self.conn.send(part) or b"" for part in parts)


class _LingeringTransport:
    """The transport, whose `close` leaves a sender who is still at it the time to read the answer."""

    def __init__(self, transport: asyncio.Transport, connection: GuardedConnection) -> None:
        self._transport = transport
        self._connection = connection
        self._closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def resume_reading(self) -> None:
        if not self._closing:
            self._transport.resume_reading()

    def close(self) -> None:
        if self.is_closing():
            return
        self._closing = True
        if not self._connection.is_cut_off() or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.pause_reading()
        self._transport.write_eof()
        self._connection.loop.call_later(_LINGER_S, self._transport.close)


def bounded(limits: HttpSettings) -> type[GuardedConnection]:
    """The connections of one listener."""
    return type("Connection", (GuardedConnection,), {"limits": limits, "of_address": Counter()})
