"""Events as a rebuild reads them: the headers that it needs, and the body as it lies there."""

from collections.abc import Iterable
from typing import NamedTuple

from shared.messaging.topic_reader import Record


class Told(NamedTuple):
    """An event, with its place and its cause; `cause` is (source, id, digest of the body)."""

    topic: str
    partition: int
    offset: int
    id: str
    source: str
    type: str
    subject: str
    time: str
    run: str | None
    cause: tuple[str, str, str] | None
    body: bytes

    @property
    def name(self) -> str:
        """The message's name alone: `RunChanged` of `upgrades.RunChanged.v1`."""
        return self.type.split(".")[1]


class NotOurs(Exception):
    """A record on an event topic that no service of ours has written: nothing is rebuilt over it."""


def told(records: Iterable[Record]) -> list[Told]:
    """The records as events. Raises `NotOurs`."""
    found = []
    for record in records:
        headers = dict(record.headers)
        source, message_id, kind = headers.get("ce_source"), headers.get("ce_id"), headers.get("ce_type")
        if source is None or message_id is None or kind is None or record.value is None:
            raise NotOurs(f"{record.topic}/{record.partition}/{record.offset} is none of our events")
        cause = tuple(headers.get(f"ce_causation{what}") for what in ("source", "id", "digest"))
        run = headers.get("ce_correlationid")
        found.append(
            Told(
                record.topic,
                record.partition,
                record.offset,
                message_id.decode(),
                source.decode(),
                kind.decode(),
                (headers.get("ce_subject") or b"").decode(),
                (headers.get("ce_time") or b"").decode(),
                None if run is None else run.decode(),
                (cause[0].decode(), cause[1].decode(), cause[2].decode())
                if cause[0] and cause[1] and cause[2]
                else None,
                record.value,
            )
        )
    return found
