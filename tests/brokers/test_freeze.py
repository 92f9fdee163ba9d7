"""A freeze counts before any executor has read it: on both brokers, in whatever order things come."""

from __future__ import annotations

from functools import partial

import pytest

from services.executor.freeze import Freezer, keep, last_word
from shared.contracts.envelope import seal, to_body, to_headers
from shared.contracts.freezes import Freeze, HoldDeploys
from shared.contracts.topics import EXECUTOR_COMMANDS
from shared.errors import Retry
from shared.jobs.store import WorkerTransaction
from shared.settings import KafkaSettings
from shared.storage.database import Database
from shared.storage.migrations import migrate_async
from tests.brokers.place import Place
from tests.brokers.tiny_service import EPOCH
from tests.conftest import PostgresServer
from tests.support.proofs import PROOFS, signed

FREEZE = Freeze(by="sam@platform.example", reason="the database moves tonight", since=EPOCH)


def word(place: Place, revision: int, freeze: Freeze | None) -> tuple[bytes, bytes, object]:
    message = HoldDeploys(freeze=freeze, revision=revision)
    envelope = seal(message, source="/upgrades/planner", now=EPOCH)
    headers = signed("planner", EXECUTOR_COMMANDS, to_body(message), to_headers(envelope))
    return envelope.subject.encode(), to_body(message), headers


async def test_what_no_executor_has_read_counts(place: Place, postgres: PostgresServer) -> None:
    postgres.create_database(f"{place.name}-executor")
    url = postgres.url(f"{place.name}-executor")
    await migrate_async("executor", url)
    database = Database("executor", url, WorkerTransaction)
    ask = Freezer(database, partial(last_word, place.settings, PROOFS))
    first = ((await last_word(place.settings, PROOFS)) or HoldDeploys(freeze=None, revision=1)).revision
    try:
        await place.send([word(place, first + 1, FREEZE)], EXECUTOR_COMMANDS)  # type: ignore[list-item]
        assert await ask() == FREEZE
        # Beside it lie commands for Projects of the same partition, and what is no message at all.
        noise = [(b"fleet", b"{", ()), *place.commands(range(3), system="fleet")]
        await place.send(noise, EXECUTOR_COMMANDS)
        assert await ask() == FREEZE
        await place.send([word(place, first + 2, None)], EXECUTOR_COMMANDS)  # type: ignore[list-item]
        assert await ask() is None
        # What was read and kept is news of a later date than what lies there.
        async with database.transaction() as tx:
            await keep(HoldDeploys(freeze=FREEZE, revision=first + 3), tx)
        assert await ask() == FREEZE
    finally:
        await database.close()


async def test_without_a_broker_no_deploy_starts() -> None:
    with pytest.raises(Retry, match="does not say whether deploys are frozen"):
        await last_word(KafkaSettings(bootstrap_servers="127.0.0.1:1"), PROOFS)
