"""Where a key's records lie: the same partition for every client of Kafka."""

from functools import lru_cache

from aiokafka.partitioner import murmur2

_REMEMBERED = 8192


def partition_of(key: bytes | None, count: int) -> int:
    """The partition in which every client of Kafka looks for this key, of a topic with `count`."""
    return _hash(key) % count if key is not None else 0


@lru_cache(maxsize=_REMEMBERED)
def _hash(key: bytes) -> int:
    # Written in Python over there, and asked for the same few keys again and again.
    hashed: int = murmur2(key)
    return hashed & 0x7FFFFFFF
