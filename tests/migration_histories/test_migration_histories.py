"""A short history; the long one, with every kind in it, is a command of its own."""

import hashlib

from services.executor.clients.migration_files import Migration
from tests.conftest import PostgresServer
from tests.migration_histories.real import Walk
from tests.migration_histories.synthetic import History
from tests.migration_histories.upgrades import Upgrades


async def test_bad_releases_are_stopped_where_they_should_be_and_good_ones_arrive(
    postgres: PostgresServer,
) -> None:
    seen = await Upgrades(postgres.url(), seed=3).run(25, every_kind=False)
    assert seen.wrong == []
    assert seen.applied >= 25
    assert seen.stopped.total() >= 3


def test_the_same_seed_makes_the_same_history() -> None:
    assert list(History(5).releases(200)) == list(History(5).releases(200))


async def test_what_is_said_of_each_migration_beforehand_is_what_happens(postgres: PostgresServer) -> None:
    """The walk that real histories are taken through, with one that is made up."""
    good = [release for release in History(9).releases(15, every_kind=False) if release.stopped is None]
    history = [
        Migration(each.name, each.sql, hashlib.sha256(each.sql.encode()).hexdigest())
        for release in good
        for each in release.new
    ]
    seen = await Walk(postgres.url(), history).run()
    assert seen.wrong == []
    assert seen.migrations == len(history)
    assert seen.ways["reversible"] > 0
