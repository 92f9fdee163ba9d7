"""A row that PostgreSQL refuses and quotes stands in no log line, answer or dead letter."""

import logging
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from sqlalchemy import text

from shared.errors import told
from shared.storage.database import Database, Transaction
from shared.telemetry.logs import RedactingFormatter
from tests.conftest import NewDatabase

Caught = Callable[[str], Awaitable[BaseException]]
PERSON = "ann@real.example"
MAKE = "CREATE TABLE people (email text PRIMARY KEY); INSERT INTO people VALUES ('{person}')"
AGAIN = f"INSERT INTO people VALUES ('{PERSON}')"


@pytest.fixture
async def people(new_database: NewDatabase) -> str:
    """The URL of a database with that person in it."""
    url = await new_database()
    connection = await asyncpg.connect(url)
    await connection.execute(MAKE.format(person=PERSON))
    await connection.close()
    return url


async def drivers(url: str) -> BaseException:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(AGAIN)
    except Exception as error:
        return error
    finally:
        await connection.close()
    raise AssertionError("it took the row twice")


async def of_sqlalchemy(url: str) -> BaseException:
    database = Database("registry", url, Transaction, pool_size=1)
    try:
        async with database.transaction() as tx:
            await tx.session.execute(text("INSERT INTO people VALUES (:email)"), {"email": PERSON})
    except Exception as error:
        return error
    finally:
        await database.close()
    raise AssertionError("it took the row twice")


async def wrapped(url: str) -> BaseException:
    found = await drivers(url)
    try:
        try:
            raise found
        except asyncpg.PostgresError as error:
            raise RuntimeError(f"the stage broke: {error}") from ExceptionGroup("several", [error])
    except RuntimeError as error:
        return error


def lines(error: BaseException) -> str:
    """Every way in which a service logs an error."""
    info = (type(error), error, error.__traceback__)
    formatter = RedactingFormatter("%(message)s")
    return "\n".join(
        formatter.format(logging.LogRecord("x", logging.ERROR, __file__, 1, message, args, exc_info))
        for message, args, exc_info in (
            (error, (), None),
            ("it broke: %s", (error,), None),
            ("it broke: %r", (error,), None),
            (f"it broke: {error}", (), None),
            ("it broke", (), info),
        )
    )


@pytest.mark.parametrize("caught", [drivers, of_sqlalchemy, wrapped])
async def test_a_refused_row_is_in_no_line_of_a_log_and_in_no_answer(caught: Caught, people: str) -> None:
    """A row's key stands in the detail of the server's error, which drivers print with it."""
    assert PERSON in str(await drivers(people)), "the server says it"
    found = lines(await caught(people))
    assert PERSON not in found
    assert "people_pkey" in found, "an operator is still told what broke"
    assert PERSON not in told(await caught(people))
    assert "people_pkey" in told(await caught(people))
