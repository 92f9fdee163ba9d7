"""Orders of the same migrations, each tried in an empty database: do they make the same schema?"""

import re
from collections.abc import Sequence
from hashlib import sha256

import asyncpg

from services.executor.clients import migrations
from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import schema_description, words
from services.executor.clients.scratch_database import order_database
from services.executor.domain.sqlstates import verdict_of
from shared.clients.database_urls import place
from shared.contracts.stages import Finding
from shared.errors import Failure, Retry

SETTING = "UPGRADES_SCRATCH_DATABASE_URL"
_TOKEN = (1, 1)
_LINES_SHOWN = 3
_NUMBER = re.compile(r"\b\d{14}_(?=\d)")


async def difference_of(server_url: str, orders: Sequence[Sequence[tuple[str, str]]]) -> str | None:
    """None when every order, of names with their SQL, makes the schema of the first one; else why not.

    `server_url` is of a role that may make databases; each that is made there is gone afterwards. Raises
    `Retry` when the server cannot be used now, and `Failure` with the cure when it never can as it is.
    """
    first: tuple[str, ...] | None = None
    for order in orders:
        try:
            made = await _made_by(server_url, order)
        except _Unfit:
            raise
        except Failure as failure:
            what = "they cannot be tried" if first is None else "applied in that order they fail"
            return f"{what} in an empty database: {said_of(failure)}"
        if first is None:
            first = made
        elif first != made:
            lines = sorted({*first} ^ {*made})
            more = f" and {len(lines) - _LINES_SHOWN} more" if len(lines) > _LINES_SHOWN else ""
            return f"applied in that order they make another schema: {'; '.join(lines[:_LINES_SHOWN])}{more}"
    return None


async def _made_by(server_url: str, order: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    try:
        async with order_database(server_url) as url:
            await migrations.apply(url, history_of(order), _TOKEN)
            return await schema_description(url)
    except asyncpg.PostgresError as error:
        verdict = verdict_of(error.sqlstate, "probe")
        said = f"{SETTING}, {place(server_url)}: {words(error)}"
        if verdict.passes:
            raise Retry(said) from error
        no_right = isinstance(error, asyncpg.InsufficientPrivilegeError)
        cure = "ALTER ROLE … CREATEDB for its role" if no_right else verdict.cure
        raise _unfit(said, cure) from error
    except Failure as failure:
        # A pooler says nothing of a migration.
        if any(each.kind == "environment" for each in failure.outcome.findings):
            cures = ", ".join(each.cure for each in failure.outcome.findings)
            raise _unfit(failure.outcome.reason, cures) from failure
        raise


class _Unfit(Failure):
    """The server says no whatever is tried there."""


def _unfit(said: str, cure: str) -> _Unfit:
    reason = f"whether that matters cannot be tried: {said}"
    finding = Finding(kind="environment", subject=SETTING, detail=said, cure=f"correct {SETTING} ({cure})")
    return _Unfit(reason, finding)


def history_of(order: Sequence[tuple[str, str]]) -> list[Migration]:
    """Names and scripts as a history: their place is their name's beginning, because folders go by name."""
    return [
        Migration(f"{number:014d}_{folder}", sql, sha256(sql.encode()).hexdigest())
        for number, (folder, sql) in enumerate(order)
    ]


def said_of(failure: Failure) -> str:
    """The words of a failure of such a history, with the names that its author gave."""
    said = "; ".join(f"{each.subject}: {each.detail}" for each in failure.outcome.findings)
    return _NUMBER.sub("", said or str(failure))
