"""A worker killed in the middle of a migration is started again, and nothing else is done."""

from tests.conftest import PostgresServer
from tests.faults.migration_kills import measure


async def test_what_a_killed_worker_left_is_ended_by_the_next(postgres: PostgresServer) -> None:
    tally = await measure(postgres.url(), kills=5, seed=1)
    assert tally.faults == []
    assert tally.kills == 5
