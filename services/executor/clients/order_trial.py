"""Orders of the same migrations, each tried in an empty database: do they make the same schema?"""

from collections.abc import Sequence
from hashlib import sha256

import asyncpg

from services.executor.clients import migrations
from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import schema_description
from services.executor.clients.scratch_database import order_database
from shared.errors import Failure, Retry

_TOKEN = (1, 1)
_LINES_SHOWN = 3


async def difference_of(server_url: str, orders: Sequence[Sequence[tuple[str, str]]]) -> str | None:
    """None when every order, of names with their SQL, makes the schema of the first one; else why not.

    `server_url` is of a role that may make databases; each that is made there is gone afterwards. Raises
    `Retry` when the server cannot be used now.
    """
    first: tuple[str, ...] | None = None
    for order in orders:
        try:
            made = await _made_by(server_url, order)
        except Failure as failure:
            said = "; ".join(f"{each.subject}: {each.detail}" for each in failure.outcome.findings)
            what = "they cannot be tried" if first is None else "applied in that order they fail"
            return f"{what} in an empty database: {said or failure}"
        if first is None:
            first = made
        elif first != made:
            lines = sorted({*first} ^ {*made})
            more = f" and {len(lines) - _LINES_SHOWN} more" if len(lines) > _LINES_SHOWN else ""
            return f"applied in that order they make another schema: {'; '.join(lines[:_LINES_SHOWN])}{more}"
    return None


async def _made_by(server_url: str, order: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    # Their place is their name's beginning: a history is applied in the order of its folders.
    history = [
        Migration(f"{number:014d}_{folder}", sql, sha256(sql.encode()).hexdigest())
        for number, (folder, sql) in enumerate(order)
    ]
    try:
        async with order_database(server_url) as url:
            await migrations.apply(url, history, _TOKEN)
            return await schema_description(url)
    except asyncpg.PostgresError as error:
        raise Retry(f"the order of migrations cannot be tried: {error}") from error
