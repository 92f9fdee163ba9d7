"""A System's migrations in an empty database: do they make its fragment, no more and no less?"""

import asyncio
from collections.abc import Sequence
from typing import Literal, TypeAlias

import asyncpg

from services.executor.clients import migrations
from services.executor.clients.order_trial import history_of, said_of
from services.executor.clients.postgres import words
from services.executor.clients.scratch_database import order_database
from services.executor.clients.scripts import statements_of
from shared.errors import Failure, Retry, told
from shared.prisma.engine import EngineError
from shared.prisma.migrating import diff_from_database
from shared.prisma.parser import Files
from shared.prisma.wasm import Panicked

Script: TypeAlias = tuple[str, str]
"""A migration's name and its SQL."""
Trial: TypeAlias = tuple[Literal["made", "unmade", "unknown"], str]
"""The answer, and the words for it."""

_TOKEN = (1, 1)
_WITHIN_S = 60.0
_SHOWN_MAX = 5
_CHARACTERS_MAX = 1000
# The Project, its hosting or a System that nobody named may have what is missing here; or this server is ill.
_ELSEWHERE_IT_MAY_RUN = (
    *("0A000", "42501", "42P01", "3F000", "42704", "42883", "P0001"),
    *("08", "53", "55", "57", "58", "XX"),
)
"""Codes, and classes of codes."""


async def trial_of(
    server_url: str,
    own: Sequence[Script],
    others: Sequence[Script],
    files: Files,
    files_of_others: Files,
) -> Trial:
    """The answer whether `own` migrations, after those of `others`, make the schema `files`.

    What the others' migrations and their files disagree on already does not count. "unknown" where this
    server cannot tell; its database is gone afterwards. `server_url` is of a role that may make databases.
    """
    try:
        async with asyncio.timeout(_WITHIN_S):
            missing = await _missing(server_url, [*others, *own], files)
            if missing and others:
                known = {*await _missing(server_url, others, files_of_others)}
                missing = [each for each in missing if each not in known]
    except Failure as failure:
        code = getattr(failure.__cause__, "sqlstate", None)
        conclusive = code is not None and not code.startswith(_ELSEWHERE_IT_MAY_RUN)
        said = f"they fail in an empty database: {said_of(failure)}"
        return ("unmade" if conclusive else "unknown"), said
    except TimeoutError:
        return "unknown", f"they take more than {_WITHIN_S:g} s in an empty database"
    except (asyncpg.PostgresError, OSError, Retry, EngineError, Panicked) as error:
        return "unknown", words(error) if isinstance(error, asyncpg.PostgresError) else told(error)
    if not missing:
        return "made", ""
    more = f" and {len(missing) - _SHOWN_MAX} more" if len(missing) > _SHOWN_MAX else ""
    text = " ".join(missing[:_SHOWN_MAX])
    shown = text if len(text) <= _CHARACTERS_MAX else f"{text[:_CHARACTERS_MAX]}…"
    return "unmade", f"in an empty database they lack this of it: {shown}{more}"


async def _missing(server_url: str, scripts: Sequence[Script], files: Files) -> list[str]:
    """The statements, without layout, that the migrations lack to make the schema."""
    async with order_database(server_url) as url:
        await migrations.apply(url, history_of(scripts), _TOKEN)
        sql = await diff_from_database(url, files)
        return [" ".join(f"{each.text};".split()) for each in await statements_of("prisma/schema", sql)]
