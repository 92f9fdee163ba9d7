"""Databases on a server of several: nobody else gets into a new one, and its owner gets rid of it."""

import asyncio

from local.roles import new_role
from shared.clients.database_urls import with_database
from shared.clients.databases import make_database, remove_database
from shared.clients.postgres import connect
from shared.replay.rebuild import made
from tests.brokers.place import eventually
from tests.conftest import PostgresServer

_OPEN_TO_ALL = """
SELECT datname FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS granted
WHERE datname LIKE 'closed\\_%' AND grantee = 0 AND privilege_type = 'CONNECT'
"""


async def test_nobody_else_gets_into_a_new_database(postgres: PostgresServer) -> None:
    """Would catch a database that is made beside others', and that PostgreSQL opens to everybody."""
    server = await connect(postgres.url())
    try:
        await make_database(server, "closed_one")
        await made(postgres.url("closed_rebuilt"))
        assert await server.fetch(_OPEN_TO_ALL) == []
        for name in ("closed_one", "closed_rebuilt"):
            await remove_database(server, name)
        assert await server.fetchval("SELECT count(*) FROM pg_database WHERE datname LIKE 'closed\\_%'") == 0
    finally:
        await server.close()


async def test_a_plain_role_drops_its_database_while_the_server_itself_works_in_it(
    postgres: PostgresServer,
) -> None:
    """Would catch a drop that fails because a vacuum, which is a superuser's, is in the database by chance.

    A superuser's session stands for it, and ends once the drop waits: a vacuum is ended by the server.
    """
    url = await new_role(postgres.url(), "drops_its_own", makes_databases=True)
    owner = await connect(with_database(url, "postgres"))
    watching = await connect(postgres.url())
    dropping: asyncio.Task[None] | None = None
    try:
        await make_database(owner, "vacuumed")
        vacuum = await connect(postgres.url("vacuumed"))
        dropping = asyncio.create_task(remove_database(owner, "vacuumed"))
        waits = "SELECT true FROM pg_stat_activity WHERE state = 'active' AND query ~ '^DROP .*vacuumed.$'"
        await eventually(lambda: watching.fetchval(waits), bool)
        await vacuum.close()
        await dropping
        assert await watching.fetchval("SELECT true FROM pg_database WHERE datname = 'vacuumed'") is None
    finally:
        if dropping is not None:
            await asyncio.gather(dropping, return_exceptions=True)
        await owner.close()
        await watching.close()
