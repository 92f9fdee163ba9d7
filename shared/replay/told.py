"""Events as a rebuild reads them: the headers that it needs, and the body as it lies there."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from shared.messaging.topic_reader import Record


class Told(NamedTuple):
    """An event, with its place and its cause; `cause` is (source, id, digest of the body)."""

    topic: str
    partition: int
    offset: int
    id: str
    source: str
    type: str
    name: str
    """The message's name alone: `RunChanged` of `upgrades.RunChanged.v1`."""
    subject: str
    time: str
    run: str | None
    cause: tuple[str, str, str] | None
    body: bytes


class NotOurs(Exception):
    """A record on an event topic that no service of ours has written: nothing is rebuilt over it."""


def told(records: Iterable[Record]) -> list[Told]:
    """The records as events. Raises `NotOurs`."""
    return [_told(record) for record in records]


def _told(record: Record) -> Told:
    headers: dict[str, Any] = dict(record.headers)
    get = headers.get
    try:
        kind = headers["ce_type"].decode()
        run, digest = get("ce_correlationid"), get("ce_causationdigest")
        return Told(
            record.topic,
            record.partition,
            record.offset,
            headers["ce_id"].decode(),
            headers["ce_source"].decode(),
            kind,
            kind.split(".", 2)[1],
            headers["ce_subject"].decode(),
            headers["ce_time"].decode(),
            None if run is None else run.decode(),
            None
            if digest is None
            else (
                headers["ce_causationsource"].decode(),
                headers["ce_causationid"].decode(),
                digest.decode(),
            ),
            bytes(record.value or b""),
        )
    except (KeyError, IndexError, AttributeError, UnicodeDecodeError) as error:
        where = f"{record.topic}/{record.partition}/{record.offset}"
        raise NotOurs(f"{where} is none of our events: {type(error).__name__}: {error}") from error
