"""A database beside production's, made like it, for one restore: closed to everybody else, gone afterwards.

Its maker holds an advisory lock in production's database for as long as it lives: the lock, and no age, says
whether one that is found is anybody's. It goes with the maker's session, also when the maker is killed.
"""

import logging
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import asyncpg

from services.executor.clients.migration_table import NO_OTHER_DEADLINES
from services.executor.clients.postgres import Connection, drop_database, literal, quoted, server_of, session
from shared.background import to_its_end
from shared.clients.database_urls import database_of, with_database
from shared.clients.databases import make_database
from shared.clients.libpq import query_of
from shared.crash_points import around
from shared.errors import Retry

log = logging.getLogger(__name__)

_LOCK = 4_711_006
_NAME_BYTES_MAX = 63
SCRATCH_NAME = re.compile(r"_drill_[0-9a-f]{12}\Z")
"""What the name of such a database ends in."""
_OURS = re.compile(r"[0-9a-f]{12}")
_OF_ORDERS = "upgradepath_order_"
_TRIES_AN_ORDER = "upgradepath: an order of migrations is being tried"
_LIKE = """
    SELECT pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS collate, d.datctype AS ctype,
        coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,
        coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
        to_jsonb(d) ->> 'daticurules' AS rules,
        (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = d.dattablespace
            AND has_tablespace_privilege(t.oid, 'CREATE')) AS tablespace
    FROM pg_database d WHERE d.datname = current_database()
"""
# Functions may read them while rows come back. A path is set by the programs themselves.
_SETTINGS = """
    SELECT split_part(setting, '=', 1) AS name, substr(setting, strpos(setting, '=') + 1) AS value
    FROM pg_db_role_setting s, unnest(s.setconfig) AS setting
    WHERE s.setrole = 0 AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND split_part(setting, '=', 1) <> 'search_path'
    AND coalesce((SELECT p.context = 'user' FROM pg_settings p
        WHERE lower(p.name) = lower(split_part(setting, '=', 1))), true)
"""
# A role of an earlier day may own one, which this role then can only name.
_LEFT = """
    SELECT datname AS name, pg_has_role(datdba, 'MEMBER') AS mine FROM pg_database
    WHERE left(datname, $1) = $2 AND (NOT datallowconn OR shobj_description(oid, 'pg_database') = $3)
"""
_TRIAL = "upgradepath-trial"
_END_TRIALS = """
    SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND application_name = $1
    AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Swept:
    """Databases of makers that are gone: those that were dropped, and those that could not be."""

    gone: tuple[str, ...]
    left: tuple[str, ...]


@asynccontextmanager
async def scratch_database(url: str) -> AsyncIterator[str]:
    """The URL of an empty database on the same server, with the encoding and the locale of the one at `url`.

    Raises asyncpg's error when the role may not make it, or the server has no room.
    """
    await sweep_scratch(url)
    async with _kept(url, _beginning(url)) as (keeper, name):
        await _create(keeper, url, name, _whose(url))
        yield _with_settings(with_database(url, name), await keeper.fetch(_SETTINGS))


@asynccontextmanager
async def order_database(server_url: str) -> AsyncIterator[str]:
    """The URL of an empty database on that server, for one order of migrations.

    Raises asyncpg's error when the role may not make it, or the server has no room.
    """
    url = await server_of(server_url)
    await _sweep(url, _OF_ORDERS, _TRIES_AN_ORDER)
    async with _kept(url, _OF_ORDERS) as (keeper, name):
        async with around("create-database"):
            await make_database(keeper, name, comment=_TRIES_AN_ORDER)
        yield with_database(url, name)


@asynccontextmanager
async def _kept(url: str, beginning: str) -> AsyncIterator[tuple[Connection, str]]:
    """A name that is locked as long as this is open, and whose database is gone afterwards."""
    name = f"{beginning}{secrets.token_hex(6)}"
    async with session(url, statement_timeout_s=0) as keeper:
        await keeper.execute(NO_OTHER_DEADLINES)
        await keeper.execute(f"SELECT pg_advisory_lock({_LOCK}, hashtext({literal(name)}))")
        try:
            yield keeper, name
        finally:
            # Rows of production are in there: no second cancellation may keep them.
            await to_its_end(_drop(url, name))


async def _drop(url: str, name: str) -> bool:
    """Drop it if that can be done now; else the next sweep does. What was tried there stands all the same."""
    try:
        return await drop_database(url, name)
    except (asyncpg.PostgresError, Retry) as error:
        # A hosting's own session in there can be ended by nobody else.
        log.warning("database %s stays until the next trial: %s", name, error)
        return False


async def make_beside(url: str, name: str) -> str:
    """Make an empty database like the one at `url`, to stay; its URL. Raises asyncpg's error."""
    async with session(url, statement_timeout_s=0) as connection:
        await _create(connection, url, name, f"upgradepath: a backup of {database_of(url)} was restored here")
    return with_database(url, name)


def of_trial(url: str) -> str:
    """The same database for a trial's sessions: by their name another executor can end them."""
    query = urlencode({**query_of(url), "application_name": _TRIAL}, quote_via=quote)
    return urlunsplit(urlsplit(url)._replace(query=query))


async def end_trials(url: str) -> int:
    """End the sessions of trials there, wherever they are tried; how many.

    A dump keeps a lock on each table to its end. Whoever writes production does not wait for one that nobody
    needs any more.
    """
    async with session(url) as connection:
        ended: int = await connection.fetchval(_END_TRIALS, _TRIAL)
    return ended


async def sweep_scratch(url: str) -> Swept:
    """Drop the databases of makers that are gone, and say which there are that cannot be dropped now."""
    return await _sweep(url, _beginning(url), _whose(url))


async def _sweep(url: str, beginning: str, comment: str) -> Swept:
    gone: list[str] = []
    left: list[str] = []
    async with session(url) as connection:
        found = await connection.fetch(_LEFT, len(beginning), beginning, comment)
        for row in found:
            name = row["name"]
            if not _OURS.fullmatch(name.removeprefix(beginning)):
                continue
            free = f"pg_try_advisory_lock({_LOCK}, hashtext({literal(name)}))"
            if await connection.fetchval(f"SELECT {free}"):
                (gone if row["mine"] and await _drop(url, name) else left).append(name)
    return Swept(tuple(gone), tuple(left))


async def _create(keeper: Connection, url: str, name: str, comment: str) -> None:
    like = await keeper.fetchrow(_LIKE)
    async with around("create-scratch"):
        await make_database(keeper, name, f"TEMPLATE template0 {_options(like)}", comment)


def _with_settings(url: str, settings: Sequence[tuple[str, str]]) -> str:
    """The URL with these settings for each session: a plain role may set its own, and none of a database."""
    words = [url_options] if (url_options := query_of(url).get("options")) else []
    words += [f"-c {name}={_escaped(value)}" for name, value in settings]
    if not words:
        return url
    query = urlencode({**query_of(url), "options": " ".join(words)}, quote_via=quote)
    return urlunsplit(urlsplit(url)._replace(query=query))


def _escaped(value: str) -> str:
    return re.sub(r"([\\\s])", r"\\\1", value)


def _options(like: Any) -> str:
    options = [
        f"ENCODING {literal(like['encoding'])}",
        f"LC_COLLATE {literal(like['collate'])} LC_CTYPE {literal(like['ctype'])}",
    ]
    if like["provider"] == "i":
        options.append(f"LOCALE_PROVIDER icu ICU_LOCALE {literal(like['locale'])}")
        options += [f"ICU_RULES {literal(like['rules'])}"] if like["rules"] else []
    elif like["provider"] == "b":
        options.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {literal(like['locale'])}")
    elif (like["locale"], like["provider"]) != (None, "c"):
        options.append("LOCALE_PROVIDER libc")
    if like["tablespace"] is not None:
        options.append(f"TABLESPACE {quoted(like['tablespace'])}")
    return " ".join(options)


def _whose(url: str) -> str:
    return f"upgradepath: a backup of {database_of(url)} is being tried"


def _beginning(url: str) -> str:
    suffix = "_drill_"
    room = _NAME_BYTES_MAX - len(suffix) - 12
    return database_of(url).encode()[:room].decode(errors="ignore") + suffix
