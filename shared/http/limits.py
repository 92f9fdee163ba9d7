"""How often, and how many at once: bounds per actor and address, held in this process's memory."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address

from cachetools import LRUCache

_KEYS_MAX = 10_000
"""So many are remembered; the least recently seen is forgotten, and begins with a full bucket."""


class TooMany(Exception):
    """The bound is reached: try again in `retry_after_s` seconds."""

    def __init__(self, reason: str, retry_after_s: float) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Rate:
    """A token bucket per key: `per_s` on average, and `burst` at once after a rest."""

    def __init__(
        self, whose: str, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._whose = whose
        self._per_s, self._burst = per_s, burst
        self._clock = clock
        self._buckets: LRUCache[str, tuple[float, float]] = LRUCache(_KEYS_MAX)

    def take(self, key: str, cost: float = 1) -> None:
        """Count one request. Raises `TooMany`; the refused request costs nothing."""
        now = self._clock()
        level, seen = self._buckets.get(key, (self._burst, now))
        level = min(self._burst, level + (now - seen) * self._per_s)
        if level < 1:
            self._buckets[key] = (level, now)
            raise TooMany(f"too many requests {self._whose}", (1 - level) / self._per_s)
        self._buckets[key] = (level - cost, now)


class Slots:
    """How many waiting requests there may be at once: in total, and per actor."""

    def __init__(self, total: int, per_key: int) -> None:
        self._total, self._per_key = total, per_key
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """One slot while the block lasts. Raises `TooMany`."""
        if self._held[key] >= self._per_key:
            raise TooMany("too many of your requests wait already", 1)
        if self._held.total() >= self._total:
            raise TooMany("too many requests wait already", 1)
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]


def address_key(host: str) -> str:
    """One key for everything that one party can send from: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> 64 << 64))
    return host
