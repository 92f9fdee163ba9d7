"""The rights of a principal, asked of the broker itself, topic by topic."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from shared.messaging.client_arguments import client_arguments
from shared.settings import KafkaSettings

FINE, DENIED = 0, 29
"""Source: https://kafka.apache.org/protocol#protocol_error_codes"""


async def rights(settings: KafkaSettings, names: Collection[str]) -> tuple[set[str], set[str]]:
    """Those of the topics that the broker lets this principal read, and those that it lets it write.

    A record is written to each of the latter.
    """
    client = AIOKafkaClient(**client_arguments(settings))
    try:
        await client.bootstrap()
        node = client.get_random_node()
        wanted = [(name, [(0, 0, 1024)]) for name in names]
        fetched = await client.send(node, FetchRequest(20, 0, 1 << 20, 0, wanted))
        sent = await client.send(node, ProduceRequest(None, 1, 5000, [(n, [(0, _batch())]) for n in names]))
    finally:
        await client.close()
    return _granted(fetched.topics, names), _granted(sent.topics, names)


def _granted(topics: Any, names: Collection[str]) -> set[str]:
    found = {name: parts[0][1] for name, parts in topics}
    assert set(found) == set(names)
    assert set(found.values()) <= {DENIED, FINE}
    return {name for name, code in found.items() if code == FINE}


def _batch() -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1024)
    builder.append(0, 1_700_000_000_000, b"k", b"{}", [])
    return bytes(builder.build())
