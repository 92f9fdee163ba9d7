"""What a database's triggers, rules and functions set off, as its catalogues have them."""

from collections.abc import Sequence

from services.executor.clients.catalogue import NOT_OURS, PEOPLES_TRIGGER, not_extension
from services.executor.clients.dressing import dressing
from services.executor.clients.postgres import Connection, session
from services.executor.clients.reading import read_in_child
from services.executor.domain.reach import Body, Reach
from shared.reading.progress import now_reading
from shared.sql.columns import shown

_FUNCTIONS = f"""
    SELECT p.proname AS name, pg_get_functiondef(p.oid) AS definition
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.prokind IN ('f', 'p') AND {NOT_OURS} AND {not_extension("pg_proc", "p")}
"""
_FIRED = f"""
    SELECT n.nspname AS schema, c.relname AS table, p.proname AS function
    FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_proc p ON p.oid = g.tgfoid
    WHERE {PEOPLES_TRIGGER.format("g")} AND g.tgenabled <> 'D' AND {NOT_OURS}
    UNION
    SELECT n.nspname, c.relname, ''
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE r.rulename <> '_RETURN' AND r.ev_enabled <> 'D' AND {NOT_OURS}
    ORDER BY 1, 2, 3
"""
_FOREIGN = f"""
    SELECT n.nspname AS schema, c.relname AS table FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'f' AND {NOT_OURS}
"""


_LAST = f"""
    SELECT DISTINCT ON (c.oid) n.nspname, c.relname, a.attname FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND {NOT_OURS}
    ORDER BY c.oid, a.attnum DESC
"""
_PUBLISHED = """
    SELECT n.nspname AS schema, c.relname AS name, array_agg(p.pubname::text ORDER BY p.pubname) AS names
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace GROUP BY n.nspname, c.relname
"""
_OWNED = f"""
    SELECT n.nspname AS schema, c.relname AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'a'
    WHERE c.relkind = 'S' AND d.refobjsubid > 0 AND {NOT_OURS}
"""


async def reach_of(url: str) -> Reach:
    """What writing to that database's tables, or calling its functions, sets off. Raises Retry."""
    async with session(url) as connection:
        return await reach(connection)


async def reach(connection: Connection) -> Reach:
    """The same over a connection of the caller's."""
    found = Reach(worn=await dressing(connection))
    functions = [(row["name"], row["definition"]) for row in await connection.fetch(_FUNCTIONS)]
    for name, body in await read_in_child("the database's functions", read_bodies, functions):
        found.add(name, body)
    for row in await connection.fetch(_FIRED):
        table = (row["schema"], row["table"])
        found.fired[table] = (*found.fired.get(table, ()), row["function"])
    found.last = {(row[0], row[1]): row[2] for row in await connection.fetch(_LAST)}
    found.foreign = {(row["schema"], row["table"]) for row in await connection.fetch(_FOREIGN)}
    for row in await connection.fetch(_PUBLISHED):
        found.published[row["schema"], row["name"]] = tuple(row["names"])
    found.owned = {shown((row["schema"], row["name"])) for row in await connection.fetch(_OWNED)}
    return found


def read_bodies(functions: Sequence[tuple[str, str]]) -> list[tuple[str, Body]]:
    """Each function's name and body, of its name and definition: a child calls it."""
    found = []
    for name, definition in functions:
        now_reading(f"function {name}")
        found.append((name, Body.of(definition)))
    return found
