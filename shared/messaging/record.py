"""A record as the broker gives it."""

from collections.abc import Sequence
from typing import Protocol


class Record(Protocol):
    """What is needed of aiokafka's ConsumerRecord."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp: int
    """In milliseconds since 1970."""
    timestamp_type: int
    """0: the sender's word, 1: when the broker took it."""


def place_text(record: Record) -> str:
    """Where the record lies: topic/partition/offset."""
    return f"{record.topic}/{record.partition}/{record.offset}"
