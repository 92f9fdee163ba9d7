"""When a consumer asks the embedded broker: as soon as this process has sent something, else now and then.

The embedded broker wakes no waiting fetch. Polling it often enough for a short latency kept more than half a
processor busy while nothing happened, with the dozen consumers of five services in one process.
"""

import asyncio
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from aiokafka import AIOKafkaConsumer

_ASK_EVERY_S = 0.25
"""For what other processes send: the command line, and the workers of a pool."""

_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, WeakSet[asyncio.Event]]]
_of_loops = WeakKeyDictionary()


def sent_to(topics: Iterable[str]) -> None:
    """Wake the consumers of these topics in this event loop: the broker has acknowledged records there."""
    consumers = _of_loops.get(asyncio.get_running_loop(), {})
    for topic in topics:
        for sent in consumers.get(topic, ()):
            sent.set()


def fetch_when_sent(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Hold back each fetch of a started consumer until `sent_to` names its topic, 0.25 s at the most.

    The first fetch is not held back, nor is one that follows a fetch which brought records.
    """
    fetcher: Any = consumer._fetcher
    fetch = fetcher._proc_fetch_request
    sent = asyncio.Event()
    sent.set()
    _of_loops.setdefault(asyncio.get_running_loop(), {}).setdefault(topic, WeakSet()).add(sent)

    async def fetch_later(*request: Any) -> bool:
        waiting = asyncio.get_running_loop().call_later(_ASK_EVERY_S, sent.set)
        try:
            await sent.wait()
        except asyncio.CancelledError:
            # As the fetch itself answers it: whoever closes the fetcher awaits it, and goes on closing.
            return False
        finally:
            waiting.cancel()
        # Before the fetch: what is sent while it is under way is asked for at once.
        sent.clear()
        found: bool = await fetch(*request)
        if found:
            sent.set()
        return found

    fetcher._proc_fetch_request = fetch_later
