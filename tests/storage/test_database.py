"""One transaction: state and outbox together, in order; and whose fault an error is."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from local.ports import free_port
from shared.clients.libpq import UnusableUrl
from shared.contracts.releases import PublishRelease
from shared.contracts.topics import dead_letters
from shared.contracts.values import Actor
from shared.storage.connections import async_url
from shared.storage.database import Database, Transaction, is_passing
from shared.storage.tables import MESSAGE_TABLES
from tests.conftest import PostgresServer

_numbers = itertools.count(1)
LIBRARY = Actor(id="library@upgradepath.example", role="library")


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[Database[Transaction]]:
    name = f"storage_{next(_numbers)}"
    postgres.create_database(name)
    database = Database("registry", postgres.url(name), Transaction)
    async with database.engine.begin() as connection:
        await connection.run_sync(MESSAGE_TABLES.create_all)
    yield database
    await database.close()


def publish(version: str) -> PublishRelease:
    return PublishRelease(actor=LIBRARY, system="auth-system", version=version, package="0" * 64)


async def _outbox(database: Database[Transaction]) -> list[bytes]:
    async with database.transaction() as tx:
        return [body for (body,) in await tx.session.execute(text("select body from outbox order by id"))]


async def test_what_is_sent_leaves_with_the_commit_in_order(database: Database[Transaction]) -> None:
    woken: list[int] = []
    async with database.transaction() as tx:
        tx.after_commit(lambda: woken.append(1))
        sent = [tx.send(publish(f"1.{number}.0")) for number in range(5)]
        assert woken == []
    assert woken == [1]
    assert len({envelope.id for envelope in sent}) == 5
    assert [f"1.{number}.0".encode() in body for number, body in enumerate(await _outbox(database))] == [
        True
    ] * 5


async def test_an_exception_leaves_nothing_and_wakes_nobody(database: Database[Transaction]) -> None:
    woken: list[int] = []

    async def break_off() -> None:
        async with database.transaction() as tx:
            tx.after_commit(lambda: woken.append(1))
            tx.send(publish("1.0.0"))
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        await break_off()
    assert woken == []
    assert await _outbox(database) == []


async def test_the_same_cause_gives_the_same_ids(database: Database[Transaction]) -> None:
    async with database.transaction() as tx:
        cause = tx.send(publish("1.0.0"))
    ids = []
    for _ in range(2):
        async with database.transaction(cause) as tx:
            ids.append([tx.send(publish("2.0.0")).id for _ in range(3)])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3


async def test_a_lock_excludes_others_of_the_same_subject_only(database: Database[Transaction]) -> None:
    async with database.transaction() as tx:
        await tx.lock("system", "auth-system")
        async with database.transaction() as other:
            await other.lock("system", "quote-engine")
            await other.lock("project", "auth-system")
        async with database.transaction() as other:
            await other.session.execute(text("set local lock_timeout = '50ms'"))
            with pytest.raises(DBAPIError) as error:
                await other.lock("system", "auth-system")
            assert is_passing(error.value)


async def test_null_and_odd_headers_are_kept(database: Database[Transaction]) -> None:
    async with database.transaction() as tx:
        tx.send_raw(dead_letters("registry"), None, None, [("empty", b""), ("null", None), ("odd", b"\xff")])
    async with database.transaction() as tx:
        headers = (await tx.session.execute(text("select headers from outbox"))).scalar_one()
    assert headers == [["empty", ""], ["null", None], ["odd", "/w=="]]


async def test_an_unreachable_database_passes(postgres: PostgresServer) -> None:
    nobody = Database("registry", f"postgresql://nobody@127.0.0.1:{free_port()}/none", Transaction)
    missing = Database("registry", postgres.url("never_made"), Transaction)
    for database in (nobody, missing):
        with pytest.raises((OSError, asyncpg.PostgresError, DBAPIError)) as error:
            await database.ping()
        assert is_passing(error.value), error.value
        await database.close()


async def test_a_pool_with_none_left_passes(postgres: PostgresServer) -> None:
    assert is_passing(PoolTimeout("QueuePool limit"))


@pytest.mark.parametrize(
    "statement",
    ["select 1/0", "select * from nowhere", "select 'a'::int", "insert into inbox (source) values ('x')"],
)
async def test_a_statement_that_is_wrong_does_not_pass(
    database: Database[Transaction], statement: str
) -> None:
    with pytest.raises(DBAPIError) as error:
        async with database.transaction() as tx:
            await tx.session.execute(text(statement))
    assert not is_passing(error.value)


async def test_a_session_that_is_ended_passes(database: Database[Transaction]) -> None:
    async def lose_the_session() -> None:
        async with database.transaction() as tx:
            pid = (await tx.session.execute(text("select pg_backend_pid()"))).scalar_one()
            async with database.transaction() as other:
                await other.session.execute(text("select pg_terminate_backend(:pid)"), {"pid": pid})
            await tx.session.execute(text("select 1"))

    with pytest.raises(DBAPIError) as error:
        await lose_the_session()
    assert is_passing(error.value)


async def test_a_deadlock_passes(database: Database[Transaction]) -> None:
    both = asyncio.Barrier(2)

    async def lock(first: str, second: str) -> None:
        async with database.transaction() as tx:
            await tx.session.execute(text("set local deadlock_timeout = '20ms'"))
            await tx.lock("system", first)
            await both.wait()
            await tx.lock("system", second)

    outcomes = await asyncio.gather(lock("a", "b"), lock("b", "a"), return_exceptions=True)
    [error] = [outcome for outcome in outcomes if outcome is not None]
    assert is_passing(error)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (OSError("Multiple exceptions: …"), True),
        (socket.gaierror(), True),
        (asyncpg.CannotConnectNowError("starting up"), True),
        (asyncpg.TooManyConnectionsError("sorry"), True),
        (asyncpg.InvalidPasswordError("no"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.ReadOnlySQLTransactionError("a standby"), True),
        (ssl.SSLCertVerificationError("certificate has expired"), True),
        (UnusableUrl("sslrootcert names /ca.pem, which is not a file here"), True),
        (asyncpg.TargetServerAttributeNotMatched("no primary"), True),
        (asyncpg.UniqueViolationError("twice"), False),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (ValueError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whose_fault_an_error_is(error: Exception, passes: bool) -> None:
    assert is_passing(error) is passes


def test_only_postgresql_urls_are_taken() -> None:
    assert async_url("postgresql://a@b/c") == "postgresql+asyncpg://a@b/c"
    with pytest.raises(ValueError, match="not a PostgreSQL URL"):
        async_url("mysql://a@b/c")
