"""Events as a rebuild reads them: the headers that it needs, and the body as it lies there."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from shared.contracts.envelope import Envelope
from shared.contracts.moments import read_moment

_REQUIRED = frozenset({"ce_id", "ce_source", "ce_type", "ce_subject", "ce_time"})


class NotOurs(Exception):
    """A record on an event topic that no service of ours has written: nothing is rebuilt over it."""


class Told:
    """An event, with its place and its cause. Raises `NotOurs`, here or when a header is read.

    There are millions of them, of which a rebuild needs little: a header is read when it is asked for.
    """

    __slots__ = ("_headers", "body", "name", "offset", "partition", "topic")

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        body: bytes | None,
        headers: Iterable[tuple[str, bytes | None]],
    ) -> None:
        self.topic, self.partition, self.offset = topic, partition, offset
        self.body = body or b""
        self._headers: dict[str, bytes | None] = dict(headers)
        if not self._headers.keys() >= _REQUIRED:
            raise self._not_ours(f"it lacks {', '.join(sorted(_REQUIRED - self._headers.keys()))}")
        try:
            self.name = _name(self._headers["ce_type"])
            """The message's name alone: `RunChanged` of `upgrades.RunChanged.v1`."""
        except (AttributeError, IndexError, UnicodeDecodeError) as error:
            raise self._not_ours(f"its ce_type is {self._headers['ce_type']!r}") from error

    @property
    def type(self) -> str:
        return self._text("ce_type")

    @property
    def id(self) -> str:
        return self._text("ce_id")

    @property
    def source(self) -> str:
        return self._text("ce_source")

    @property
    def subject(self) -> str:
        return self._text("ce_subject")

    @property
    def time(self) -> str:
        return self._text("ce_time")

    @property
    def run(self) -> str | None:
        return self._text("ce_correlationid") if self._headers.get("ce_correlationid") is not None else None

    @property
    def cause(self) -> tuple[str, str, str] | None:
        """Source, id and digest of the body; None where the sender did not know them all."""
        headers = self._headers
        digest = headers.get("ce_causationdigest")
        if digest is None:
            return None
        source, name = headers.get("ce_causationsource"), headers.get("ce_causationid")
        if source is None or name is None:
            raise self._not_ours("it tells its cause's digest, and not its cause")
        try:
            return source.decode(), name.decode(), digest.decode()
        except UnicodeDecodeError as error:
            raise self._not_ours(f"its cause is no text: {error}") from error

    @property
    def envelope(self) -> Envelope:
        """As whoever handles it knows it, for what it causes."""
        trace = "ce_traceparent"
        return Envelope(
            *(self.id, self.source, self.type, self.subject, read_moment(self.time), self.run),
            traceparent=self._text(trace) if self._headers.get(trace) is not None else None,
            digest=hashlib.sha256(self.body).hexdigest(),
        )

    def _text(self, header: str) -> str:
        try:
            return self._headers[header].decode()  # type: ignore[union-attr]
        except (KeyError, AttributeError, UnicodeDecodeError) as error:
            raise self._not_ours(f"{header}: {type(error).__name__}: {error}") from error

    def _not_ours(self, reason: str) -> NotOurs:
        return NotOurs(f"{self.topic}/{self.partition}/{self.offset} is none of our events: {reason}")


@lru_cache(maxsize=256)
def _name(kind: bytes) -> str:
    return kind.decode().split(".", 2)[1]
