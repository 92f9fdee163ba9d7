"""Which functions of a database may give something else in another session; reads catalogues only."""

import asyncio
from collections.abc import Iterable, Mapping

import asyncpg

from services.executor.clients.postgres import Connection
from services.executor.domain.unsettled import (
    BY_ARGUMENTS,
    CLOCKS,
    NEVER_TWICE,
    VALUE_SETTINGS,
    WORDS_OF_THE_SESSION,
    Unsettled,
    mentioned,
)  # fmt: skip

_OF_THE_SERVER = """
    SELECT DISTINCT p.proname::text AS name FROM pg_proc p
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.provolatile <> 'i'
"""
# Of an extension's stable functions with arguments, those are what the value hangs on.
_OF_OTHERS = """
    SELECT p.proname::text AS name, e.objid IS NULL AS own,
        p.provolatile = 'v' OR p.provolatile = 's' AND (e.objid IS NULL OR p.pronargs = 0) AS unsettled,
        CASE WHEN e.objid IS NULL AND p.prokind = 'f' THEN pg_get_functiondef(p.oid) END AS definition
    FROM pg_proc p
    LEFT JOIN pg_depend e ON e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'
    WHERE p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""
_DOMAINS = """
    SELECT t.typname::text AS name, pg_get_constraintdef(k.oid) AS definition
    FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid
"""
_OPERATORS = """
    SELECT o.oprname::text AS name, p.proname::text AS calls
    FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
    WHERE o.oprnamespace <> 'pg_catalog'::regnamespace
"""
_CASTS = """
    SELECT t.typname::text AS name, p.proname::text AS calls FROM pg_cast c
    JOIN pg_type t ON t.oid = c.casttarget
    JOIN pg_proc p ON p.oid = c.castfunc WHERE p.pronamespace <> 'pg_catalog'::regnamespace
"""
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE lower(name) = ANY ($1)"
_JSON = ("json_", "jsonb_")
_READS = frozenset({"from", "execute"})
"""A function that reads rows is evaluated over those of now, whatever it says of itself."""


async def unsettled_of(connection: Connection, views: Mapping[str, str]) -> Unsettled:
    """As the database is; `views` are its plain views' names with their queries."""
    server = {row["name"] for row in await connection.fetch(_OF_THE_SERVER)}
    trusted = {each for each in server if each in BY_ARGUMENTS or each.startswith(_JSON)}
    others = await connection.fetch(_OF_OTHERS)
    unsettled = server - trusted - CLOCKS - NEVER_TWICE
    unsettled |= {row["name"] for row in others if row["unsettled"]} - NEVER_TWICE
    written = [row for row in others if row["definition"] is not None]
    bodies = await asyncio.to_thread(_mentions, written)
    unsettled |= _users({*unsettled, *CLOCKS, *WORDS_OF_THE_SESSION, *_READS}, bodies)
    made = _by_name(
        (
            *(await asyncio.to_thread(_mentions, await connection.fetch(_DOMAINS))).items(),
            *((name, mentioned(query)) for name, query in views.items()),
            *((row["name"], {row["calls"]}) for row in await connection.fetch(_CASTS)),
        )
    )
    return Unsettled(
        frozenset(unsettled),
        frozenset(row["name"] for row in others if row["own"]),
        frozenset(_users({*unsettled, *WORDS_OF_THE_SESSION}, made)),
        {row["name"].lower(): row["setting"] for row in await connection.fetch(_SETTINGS, [*VALUE_SETTINGS])},
        frozenset(trusted),
        tuple(row["name"] for row in await connection.fetch(_OPERATORS) if row["calls"] in unsettled),
    )


def _mentions(rows: Iterable[asyncpg.Record]) -> dict[str, set[str]]:
    """The names in each definition. In a thread: a database may have thousands of long ones."""
    return _by_name((row["name"], mentioned(row["definition"])) for row in rows)


def _users(found: set[str], mentions: Mapping[str, set[str]]) -> set[str]:
    """Names of those that mention one of `found`, or one that does."""
    by_mentioned: dict[str, list[str]] = {}
    for name, said in mentions.items():
        for each in said:
            by_mentioned.setdefault(each, []).append(name)
    users: set[str] = set()
    waiting = [name for each in found for name in by_mentioned.get(each, ())]
    while waiting:
        name = waiting.pop()
        if name not in users:
            users.add(name)
            waiting += by_mentioned.get(name, ())
    return users


def _by_name(found: Iterable[tuple[str, set[str]]]) -> dict[str, set[str]]:
    """Collect what all things of a name mention: functions are overloaded, domains have several rules."""
    names: dict[str, set[str]] = {}
    for name, said in found:
        names.setdefault(name, set()).update(said)
    return names
