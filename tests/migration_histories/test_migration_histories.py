"""A short history; the long one, with every kind in it, is a command of its own."""

from tests.conftest import PostgresServer
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
