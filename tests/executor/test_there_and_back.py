"""Up by Prisma's differ and down by ours: the same schema, the same rows where that is promised."""

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.executor.clients.postgres import create_database, drop_database
from tests.conftest import PostgresServer
from tests.executor.there_and_back import try_pair


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chance=st.randoms(use_true_random=False))
async def test_up_and_down_is_where_it_began(postgres: PostgresServer, chance: random.Random) -> None:
    """A dozen pairs here; the command in `there_and_back` tries hundreds."""
    for name in ("pair_base", "pair_shadow"):
        await drop_database(postgres.url(), name)
        await create_database(postgres.url(), name)
    await try_pair(postgres.url("pair_base"), postgres.url("pair_shadow"), chance)
