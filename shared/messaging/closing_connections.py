"""A TLS connection to a broker that is closed is gone within a second, whatever the broker answers.

TLS says goodbye in both directions. aiokafka waits for the broker's, and uvloop waits half a minute for it
when an answer to a fetch is still on its way: a command, or a service that stops, stood still for as long.
"""

from typing import Any

from aiokafka.conn import AIOKafkaConnection

_GOODBYE_WITHIN_S = 1.0
_close = AIOKafkaConnection.close


def close_in_time() -> None:
    """From here on every connection of this process closes so. Safe to repeat."""
    AIOKafkaConnection.close = _close_in_time


def _close_in_time(self: Any, *reasons: Any, **named: Any) -> Any:
    transport = None if self._writer is None else self._writer.transport
    closed = _close(self, *reasons, **named)
    if transport is not None:
        # All that was sent has been answered or given up: nothing is lost with what is cut off.
        self._loop.call_later(_GOODBYE_WITHIN_S, transport.abort)
    return closed
