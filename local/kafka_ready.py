"""When does a broker that we started answer Kafka's protocol?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from local.process import CannotStart, Child

_POLL_S = 0.01
_ANSWER_TIMEOUT_MS = 5_000


async def until_ready(child: Child, client: Mapping[str, Any], deadline_s: float) -> None:
    """Returns when the broker lists itself as alive, so that topics can be made.

    `client` are the arguments of a client of aiokafka.

    Raises CannotStart, with the end of its log, when the program ends or the deadline passes before that.
    """
    end = time.monotonic() + deadline_s
    while not await is_listed(client):
        if not child.running:
            raise CannotStart(f"{child.name} ended while starting{child.log_tail()}")
        if time.monotonic() > end:
            raise CannotStart(f"{child.name} gave no answer within {deadline_s:g} s{child.log_tail()}")
        await asyncio.sleep(_POLL_S)


async def is_listed(client: Mapping[str, Any]) -> bool:
    """True when the broker answers now, and counts itself among those that are alive."""
    # A plain connection first: aiokafka logs an error for each refused one.
    host, _, port = client["bootstrap_servers"].partition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    admin = AIOKafkaAdminClient(**client, request_timeout_ms=_ANSWER_TIMEOUT_MS)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
    except KafkaError:
        return False
    finally:
        await admin.close()
    return bool(cluster["brokers"])
