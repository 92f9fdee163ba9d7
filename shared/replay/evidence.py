"""The records that a rebuild believes: those of which a service of ours proves that it wrote them.

Anybody who reaches the broker may have put others beside them. Each is passed over as its reader would have
refused it, counted, and the first are kept for whoever rebuilds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka import TopicPartition

from shared.contracts.envelope import Unreadable
from shared.identity.proofs import HEADER, SERVICES_SOURCE, Verifier, writers
from shared.messaging.partitions import partition_of
from shared.replay.told import NotOurs, Told

LISTED_MAX = 100
_BY_THE_BROKER = 1
"""Of a record's `timestamp_type`: its time is the broker's own, not the sender's word."""


@dataclass(frozen=True)
class PassedOver:
    """A record that was not believed."""

    topic: str
    partition: int
    offset: int
    reason: str


class Evidence:
    """Judges every record of one rebuild.

    `unsigned_before`: a service's record without a proof is believed if the broker took it before that
    moment: an earlier version wrote it. One with a wrong proof never is. With `broken_audit` an audit log is
    believed up to its first fault.
    """

    def __init__(
        self, proofs: Verifier, unsigned_before: datetime | None = None, *, broken_audit: bool = False
    ) -> None:
        self.broken_audit = broken_audit
        self._proofs = proofs
        self._unsigned_before_ms = None if unsigned_before is None else unsigned_before.timestamp() * 1000
        self.count = 0
        """How many were passed over."""
        self.listed: list[PassedOver] = []
        """The first of them."""

    def told(self, at: TopicPartition, partitions: int, record: Any) -> Told | None:
        """The event of aiokafka's record; None if nobody of us proves it. `partitions` has its topic."""
        try:
            return self._proven(at, partitions, record)
        except (NotOurs, Unreadable) as error:
            self.pass_over(at.topic, at.partition, record.offset, str(error))
            return None

    def pass_over(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """Count it."""
        self.count += 1
        if len(self.listed) < LISTED_MAX:
            self.listed.append(PassedOver(topic, partition, offset, reason))

    def _proven(self, at: TopicPartition, partitions: int, record: Any) -> Told:
        if record.value is None:
            raise Unreadable("the record has no body")
        attributes = _attributes(record.headers)
        told = Told(at.topic, at.partition, record.offset, record.value, record.headers)
        if HEADER in attributes or not self._is_of_before(record):
            self._proofs.check_record(at.topic, attributes, record.value)
        elif attributes["ce_source"].removeprefix(SERVICES_SOURCE) not in writers(at.topic, attributes):
            raise Unreadable(f"{attributes['ce_source']} sends no {told.type}")
        if partition_of(told.subject.encode(), partitions) != at.partition:
            # A proven event, copied to where its order among the others is lost.
            raise Unreadable(f"events of {told.subject} lie in another partition")
        return told

    def _is_of_before(self, record: Any) -> bool:
        return (
            self._unsigned_before_ms is not None
            and record.timestamp_type == _BY_THE_BROKER
            and record.timestamp < self._unsigned_before_ms
        )


def _attributes(headers: Iterable[tuple[str, bytes | None]]) -> Mapping[str, str]:
    """The `ce_` headers as they were signed. Raises `Unreadable`."""
    found: dict[str, str] = {}
    for name, value in headers:
        if not name.startswith("ce_"):
            continue
        # With a NUL two headers could look like three in what is signed.
        if value is None or b"\0" in value or "\0" in name:
            raise Unreadable(f"header {name!a} has no value, or a NUL in it")
        try:
            found[name] = value.decode()
        except UnicodeDecodeError as error:
            raise Unreadable(f"header {name!a} is not UTF-8") from error
    return found
