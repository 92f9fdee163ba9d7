"""Whether a consumer gets anywhere: aiokafka can come out of a rebalance deaf, and says nothing."""

import asyncio
import time
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

_ANSWER_WITHIN_S = 10.0


class Stuck(Exception):
    """Records wait at the broker and none has come for a while: whoever consumes must be made anew.

    All of it, not the consumer alone: what made it deaf may lie in anything that the process holds.
    """


class Progress:
    """Looks, while nothing comes, whether there is something that ought to have come."""

    def __init__(self, consumer: AIOKafkaConsumer, stuck_after_s: float) -> None:
        self._consumer = consumer
        self._stuck_after_s = stuck_after_s
        self._behind_at: dict[TopicPartition, int] = {}
        """Where each partition that had more stood at the last look."""
        self._looked_at_s = time.monotonic()

    async def check(self) -> None:
        """Raises `Stuck` when a partition had more at two looks, and stood still between them.

        Once is no sign: a record that arrives at this moment is on its way.
        """
        if time.monotonic() - self._looked_at_s < self._stuck_after_s:
            return
        # A broker that is away answers nothing: that is no reason to give up a place in the group.
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await self._look()
        except TimeoutError:
            self._behind_at = {}
        self._looked_at_s = time.monotonic()

    async def broker_answers(self) -> bool:
        """Whether it does, this consumer's own connection, and now."""
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await self._ends()
        except (TimeoutError, KafkaError):
            return False
        return True

    async def _ends(self) -> Mapping[TopicPartition, int]:
        partitions = list(self._consumer.assignment())
        ends: Mapping[TopicPartition, int] = {}
        if partitions:
            ends = await self._consumer.end_offsets(partitions)
        return ends

    async def _look(self) -> None:
        ends = await self._ends()
        behind_at: dict[TopicPartition, int] = {}
        for partition, end in ends.items():
            position = await self._consumer.position(partition)
            if position < end:
                behind_at[partition] = position
        for partition, position in behind_at.items():
            if self._behind_at.get(partition) == position:
                raise Stuck(
                    f"{partition.topic}/{partition.partition} stands at {position} of {ends[partition]}"
                )
        self._behind_at = behind_at
