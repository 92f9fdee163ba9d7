"""What every service tells of its messages: what waits to be sent, and what waits to be read."""

from collections.abc import Iterable
from typing import Any

from prometheus_client.core import Metric
from sqlalchemy import text

from shared.messaging.consumer import Consumer
from shared.storage.database import Database
from shared.telemetry.metrics import Gauges, gauge

_OUTBOX = text("select count(*), coalesce(extract(epoch from now() - min(created_at)), 0) from outbox")


def outbox(database: Database[Any]) -> Gauges:
    """How many messages wait in the outbox, and for how long the oldest of them has."""

    async def ask() -> Iterable[Metric]:
        async with database.engine.connect() as connection:
            waiting, age_s = (await connection.execute(_OUTBOX)).one()
        of = (database.service,)
        return (
            gauge("outbox_messages", "Messages that wait to be sent.", ("service",), {of: waiting}),
            gauge("outbox_age_seconds", "How long the oldest of them has waited.", ("service",), {of: age_s}),
        )

    return ask


def lag(consumer: Consumer[Any]) -> Gauges:
    """How far this process is behind the end of each partition that it reads."""

    async def ask() -> Iterable[Metric]:
        records: dict[tuple[str, ...], float] = {
            (consumer.service, partition.topic, str(partition.partition)): float(behind)
            for partition, behind in (await consumer.lags()).items()
        }
        labels = ("service", "topic", "partition")
        return (gauge("consumer_lag_records", "Records that this process has yet to read.", labels, records),)

    return ask
