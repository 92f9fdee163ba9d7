"""How far a consumer has come: told to the broker about once a second, since the inbox knows every repeat."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from shared.crash_points import around
from shared.messaging.progress import Progress

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 1.0
_COMMIT_WITHIN_S = 5.0
_LEAVE_WITHIN_S = 1.0


class Offsets:
    """What was handled durably and is not committed yet."""

    def __init__(self, consumer: AIOKafkaConsumer, commit_within_s: float = _COMMIT_WITHIN_S) -> None:
        self._consumer = consumer
        self._commit_within_s = commit_within_s
        self._next: dict[TopicPartition, int] = {}
        self._committed_at_s = time.monotonic()

    def handled(self, polled: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """These records, which came in their order, are durable."""
        self._next |= {partition: records[-1].offset + 1 for partition, records in polled.items() if records}

    def due_within_s(self) -> float:
        """Until `commit_when_due` has something to do."""
        return (
            max(0.0, self._committed_at_s + COMMIT_EVERY_S - time.monotonic())
            if self._next
            else COMMIT_EVERY_S
        )

    async def commit_when_due(self) -> bool:
        """Whether it was time. Raises as `commit` does."""
        due = bool(self._next) and self.due_within_s() == 0
        if due:
            await self.commit()
        return due

    async def leave(self) -> None:
        """Commit all of it, if the broker answers soon: what is not committed is read again and skipped."""
        committing = asyncio.ensure_future(self.commit())
        # A task of its own: with its broker away, aiokafka goes on asking whoever cancels it.
        await asyncio.wait({committing}, timeout=_LEAVE_WITHIN_S)
        committing.cancel()

    async def commit(self) -> None:
        """Commit all of it, now. Raises TimeoutError when nobody answers; then it is kept.

        aiokafka asks for ever: after two outages in a row its client can wait for what will not come.
        """
        # What went to another member meanwhile, that one reads again and skips.
        ours = self._consumer.assignment()
        offsets = {partition: offset for partition, offset in self._next.items() if partition in ours}
        self._next, self._committed_at_s = {}, time.monotonic()
        if not offsets:
            return
        try:
            async with around("offsets"), asyncio.timeout(self._commit_within_s):
                await self._consumer.commit(offsets)
        except TimeoutError:
            self._next = offsets | self._next
            raise
        except (KafkaError, IllegalStateError) as error:
            log.warning("offsets not committed, the records will be seen again: %s", error)


async def commit_when_due(offsets: Offsets, progress: Progress) -> None:
    """Commit when it is time. Raises `Stuck` when nobody answers though the broker is there."""
    try:
        if await offsets.commit_when_due():
            progress.answered()
    except TimeoutError:
        log.warning("offsets not committed, nobody answers")
        await progress.unanswered()
