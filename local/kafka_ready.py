"""When does a broker that we started answer Kafka's protocol?"""

from __future__ import annotations

import asyncio
import time

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from local.process import CannotStart, Child

_POLL_S = 0.01
_ANSWER_TIMEOUT_MS = 5_000


async def until_ready(child: Child, port: int, deadline_s: float) -> None:
    """Returns when the broker at 127.0.0.1:port lists itself as alive, so that topics can be made.

    Raises CannotStart, with the end of its log, when the program ends or the deadline passes before that.
    """
    end = time.monotonic() + deadline_s
    while not await _is_listed(port):
        if not child.running:
            raise CannotStart(f"{child.name} ended while starting{child.log_tail()}")
        if time.monotonic() > end:
            raise CannotStart(f"{child.name} gave no answer within {deadline_s:g} s{child.log_tail()}")
        await asyncio.sleep(_POLL_S)


async def _is_listed(port: int) -> bool:
    # A plain connection first: aiokafka logs an error for each refused one.
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=_ANSWER_TIMEOUT_MS)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
    except KafkaError:
        return False
    finally:
        await admin.close()
    return bool(cluster["brokers"])
