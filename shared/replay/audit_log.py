"""A service's audit log from its topic: the same entries with the same hashes, to be continued from there."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from aiokafka import TopicPartition
from pydantic_core import from_json

from shared.contracts.audit import NO_ENTRY
from shared.contracts.moments import read_moment
from shared.contracts.topics import AUDIT_EVENTS
from shared.contracts.values import canonical_digest, canonical_json
from shared.identity.proofs import SERVICES_SOURCE
from shared.messaging.topic_admin import partition_counts
from shared.replay.bulk import copy_rows
from shared.replay.evidence import Evidence
from shared.replay.reading import read_told
from shared.replay.restorer import CannotRebuild
from shared.replay.told import Told
from shared.settings import KafkaSettings

_COLUMNS = ("seq", "hash", "at", "who", "project", "refused", "entry", "head")
_HELD_ROWS = 5000


async def restore_log(settings: KafkaSettings, log: str, connection: Any, evidence: Evidence) -> int:
    """Fill the empty table `audit` of the service `log`; how many entries there are.

    Raises `CannotRebuild` where entries are missing or differ; where the evidence says so, it ends before it.
    """
    if AUDIT_EVENTS.name not in await partition_counts(settings, [AUDIT_EVENTS.name]):
        return 0  # no version with an audit log has worked here
    source = f"{SERVICES_SOURCE}{log}".encode()

    def take(at: TopicPartition, partitions: int, record: Any) -> Told | None:
        # The others' entries are not read, so nobody needs their keys here.
        return evidence.told(at, partitions, record) if ("ce_source", source) in record.headers else None

    chain = _Chain(log, connection)
    async with aclosing(read_told(settings, [AUDIT_EVENTS], take)) as batches:
        async for events in batches:
            for event in events:
                try:
                    await chain.take(event)
                except CannotRebuild:
                    if not evidence.broken_audit:
                        raise
                    await chain.write()
                    return chain.seq
    await chain.write()
    return chain.seq


class _Chain:
    """What was taken so far; each entry must be the next one, or one that is there."""

    def __init__(self, log: str, connection: Any) -> None:
        self.seq, self._hash = 0, NO_ENTRY
        self._log = log
        self._connection = connection
        self._rows: list[Sequence[Any]] = []

    async def take(self, event: Told) -> None:
        document = from_json(event.body)
        head = document["head"]
        for entry in document["entries"]:
            digest = canonical_digest(entry)
            if entry["log"] != self._log:
                raise self._broken(entry["seq"], f"it is of the log {entry['log']}")
            if entry["seq"] <= self.seq:
                if await self._kept(entry["seq"]) != digest:
                    raise self._broken(entry["seq"], "there are two that differ")
                continue
            if entry["seq"] != self.seq + 1:
                raise self._broken(self.seq + 1, f"the next one on {AUDIT_EVENTS.name} is {entry['seq']}")
            if entry["previous"] != self._hash:
                raise self._broken(entry["seq"], "it does not follow the one before")
            is_last = entry["seq"] == head["seq"]
            self._rows.append(_row(entry, digest, head if is_last else None))
            self.seq, self._hash = entry["seq"], digest
        if head["seq"] == self.seq and head["hash"] != self._hash:
            raise self._broken(self.seq, "the head of the same message names another hash")
        if len(self._rows) > _HELD_ROWS:
            await self.write()

    async def write(self) -> None:
        """Write what is held."""
        rows, self._rows = self._rows, []
        await copy_rows(self._connection, "audit", _COLUMNS, rows)

    async def _kept(self, seq: int) -> str | None:
        await self.write()
        kept: str | None = await self._connection.fetchval("select hash from audit where seq = $1", seq)
        return kept

    def _broken(self, seq: int, why: str) -> CannotRebuild:
        return CannotRebuild(
            f"the audit log of {self._log} is broken at entry {seq}: {why}; read the runbook audit-broken"
        )


def _row(entry: dict[str, Any], digest: str, head: dict[str, Any] | None) -> tuple[Any, ...]:
    return (
        entry["seq"],
        digest,
        read_moment(entry["at"]),
        entry["who"],
        entry["project"],
        entry["verdict"] == "refused",
        canonical_json(entry),
        None if head is None else canonical_json(head),
    )
