"""Law: what can still come again finds its inbox row, and what cannot does not stay for ever."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError
from sqlalchemy import text

from services.notifier.settings import NotifierSettings
from shared.contracts.topics import COMES_AGAIN_WITHIN_DAYS, DAY_MS, DEAD_LETTERS, FOREVER, TOPICS, Topic
from shared.settings import ServiceSettings
from shared.storage.clock import DatabaseClock
from shared.storage.database import Database, Transaction
from shared.storage.pruning import INBOX, Prune, Pruner, kept, older
from shared.storage.tables import MESSAGE_TABLES
from tests.conftest import PostgresServer
from tests.support.keys import PUBLIC_KEYS
from tests.support.proofs import key_settings

KEEP = timedelta(days=180)
ROWS = 30_000
_numbers = itertools.count(1)
# As old as days are in a year, in an order that has nothing to do with where a row lies.
_FILL = text(
    "insert into inbox (source, id, digest, verdict, handled_at)"
    " select '/test', n::text, repeat('0', 64), '{}', now() - make_interval(days => n * 7919 % 360)"
    " from generate_series(1, :rows) n"
)


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[Database[Transaction]]:
    name = f"pruning_{next(_numbers)}"
    postgres.create_database(name)
    database = Database("registry", postgres.url(name), Transaction)
    async with database.engine.begin() as connection:
        await connection.run_sync(MESSAGE_TABLES.create_all)
        await connection.execute(_FILL, {"rows": ROWS})
    yield database
    await database.close()


async def ages_days(database: Database[Transaction]) -> list[int]:
    """Of every row that is there."""
    async with database.transaction() as tx:
        rows = await tx.fetch("select extract(day from now() - handled_at)::int from inbox")
    return [days for (days,) in rows]


def deleted() -> float:
    return (
        REGISTRY.get_sample_value("upgradepath_pruned_rows_total", {"service": "registry", "table": "inbox"})
        or 0
    )


async def test_what_is_old_goes_and_nothing_else(database: Database[Transaction]) -> None:
    before, counted = await ages_days(database), deleted()
    assert len(before) == ROWS
    await Pruner(database, [INBOX], KEEP).prune()
    after = await ages_days(database)
    assert sorted(after) == sorted(days for days in before if days < KEEP.days)
    assert deleted() - counted == ROWS - len(after) > 0
    await Pruner(database, [INBOX], KEEP).prune()
    assert len(await ages_days(database)) == len(after)


async def test_it_reads_a_few_pages_at_a_time_and_needs_no_index(database: Database[Transaction]) -> None:
    place = "'(0,0)'"
    sql = INBOX.sql.replace("$1", place).replace("$2", "'(9,0)'").replace("$3", "now()")
    async with database.engine.connect() as connection:
        plan = "\n".join((await connection.execute(text(f"explain {sql}"))).scalars())
        pages = (await connection.execute(text("select pg_relation_size('inbox') / 8192"))).scalar_one()
    assert "Tid Range Scan on inbox" in plan
    assert pages > 256, "a pass has more than one portion"


async def test_a_clock_that_is_days_ahead_deletes_nothing(database: Database[Transaction]) -> None:
    class Ahead(DatabaseClock):
        async def now(self) -> datetime:
            return await super().now() + timedelta(days=400)

    database.clock = Ahead(database.lane)
    await Pruner(database, [INBOX], KEEP).prune()
    database.clock = DatabaseClock(database.lane)
    assert len(await ages_days(database)) == ROWS


async def test_the_rows_that_stay_are_told(database: Database[Transaction]) -> None:
    async with database.connection() as connection:
        await connection.execute(text("analyze inbox"))
    (told,) = await kept(database, [INBOX, older("not_there", "at")])()
    [sample] = told.samples
    assert sample.labels == {"service": "registry", "table": "inbox"}
    assert sample.value == pytest.approx(ROWS, rel=0.05)


async def test_a_statement_that_breaks_is_said_and_tried_again_later(database: Database[Transaction]) -> None:
    pruner = Pruner(database, [Prune("not_there", "select 1")], KEEP)
    await pruner.start()
    await pruner.stop()  # it ends, and what it raised was said
    with pytest.raises(Exception, match="not_there"):
        await pruner.prune()


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic not in DEAD_LETTERS])
def test_a_message_that_can_still_come_again_finds_its_row(topic: Topic) -> None:
    """It lies on its topic; on the last day of a dead letter it is sent there anew, and lies there again.

    Of a topic that is kept forever it may come at any time, to a group that has lost its place: that it is
    old news is then seen by its revision, as `test_..._old_news` of each service that reads one shows.
    """
    if topic.retention_ms == FOREVER:
        assert ".events." in topic.name, "commands and results have no revision"
        return
    lies_there, dead_letter = topic.retention_ms / DAY_MS, max(dead.retention_ms for dead in DEAD_LETTERS)
    assert lies_there + dead_letter / DAY_MS < COMES_AGAIN_WITHIN_DAYS


def test_no_setting_can_break_that(tmp_path: Path) -> None:
    def settings(**given: float) -> ServiceSettings:
        return NotifierSettings(
            UPGRADES_NOTIFIER_DATABASE_URL="postgresql:///nothing",
            content_url=tmp_path.as_uri(),
            token_public_keys=PUBLIC_KEYS,
            **key_settings("notifier"),
            **given,  # type: ignore[arg-type]
        )

    assert settings().keep_inbox_days > COMES_AGAIN_WITHIN_DAYS
    assert settings(keep_inbox_days=COMES_AGAIN_WITHIN_DAYS).keep_inbox_days == COMES_AGAIN_WITHIN_DAYS
    with pytest.raises(ValidationError):
        settings(keep_inbox_days=COMES_AGAIN_WITHIN_DAYS - 1)
