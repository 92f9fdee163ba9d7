"""A table's own rules, suspended while rows arrive that production holds already.

Production's state is lawful, whatever made it so. `session_replication_role = replica` silences plain
triggers and foreign keys; it does not silence triggers that are ENABLE ALWAYS, and it wakes those that are
ENABLE REPLICA. A rule that is NOT VALID judges every new row, and one that calls a function may look at rows
which have not come yet. Each is taken away before the first row and comes back as it was after the last.
A server before PostgreSQL 15 lets superusers alone set that: the tables' owner takes plain triggers and
foreign keys away too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from services.executor.clients.catalogue import PEOPLES_TRIGGER
from services.executor.clients.postgres import Connection, literal, quoted
from services.executor.clients.table_copy import misfit

_OWN = (
    "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'upgradepath')"
    " AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass"
    " AND e.objid = c.oid AND e.deptype = 'e')"
)
_TRIGGERS = f"""
    SELECT n.nspname AS schema, c.relname AS table, t.tgname AS name, t.tgenabled::text AS mode
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {PEOPLES_TRIGGER.format("t")} AND t.tgenabled::text = ANY($1::text[])
    AND c.relkind IN ('r', 'p') AND {_OWN}
    ORDER BY t.oid
"""
# A partition's own goes and comes with its parent's.
_REFERENCES = f"""
    SELECT n.nspname AS schema, c.relname AS table, k.conname AS name,
        pg_get_constraintdef(k.oid) AS definition, obj_description(k.oid, 'pg_constraint') AS comment
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 AND {_OWN} ORDER BY k.oid
"""
_FORCED = f"""
    SELECT n.nspname AS schema, c.relname AS table
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relforcerowsecurity AND c.relkind IN ('r', 'p') AND {_OWN} ORDER BY c.oid
"""
# An inherited one goes and comes with its parent's. NOT ENFORCED (from PostgreSQL 18 on) judges nothing.
_RULES = f"""
    SELECT n.nspname AS schema, c.relname AS table, k.conname AS name, NOT k.convalidated AS loose,
        pg_get_constraintdef(k.oid) AS definition, obj_description(k.oid, 'pg_constraint') AS comment
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype IN ('c', 'n') AND k.coninhcount = 0 AND c.relkind IN ('r', 'p') AND {_OWN}
    AND coalesce(to_jsonb(k) ->> 'conenforced', 'true') = 'true'
    AND (NOT k.convalidated OR k.contype = 'c' AND EXISTS (SELECT FROM pg_depend d
        JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
        WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
        AND p.pronamespace <> 'pg_catalog'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass
            AND e.objid = p.oid AND e.deptype = 'e')))
    ORDER BY k.oid
"""
_DOMAIN_RULES = """
    SELECT n.nspname AS schema, t.typname AS domain, k.conname AS name,
        pg_get_constraintdef(k.oid) AS definition, obj_description(k.oid, 'pg_constraint') AS comment
    FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE k.contype = 'c' AND NOT k.convalidated AND n.nspname !~ '^pg_'
    AND n.nspname NOT IN ('information_schema', 'upgradepath')
    ORDER BY k.oid
"""
_MODES = {"A": "ENABLE ALWAYS", "R": "ENABLE REPLICA", "O": "ENABLE"}


@dataclass(frozen=True)
class _Judged:
    """A rule that held for every row, as `subject` in messages; `validate` asks all rows."""

    subject: str
    validate: str


@dataclass(frozen=True)
class Suspended:
    """The statements that bring the rules back, in their order, and the rules that must then hold for all."""

    back: tuple[str, ...] = ()
    judged: tuple[_Judged, ...] = ()


async def suspend(target: Connection, *, replica: bool = True) -> Suspended:
    """Take the rules away; the role must own the tables.

    Without `replica` the session could not be made one: what that would silence is taken away as well.
    """
    # A child's own rule may stand beside the one that it inherits: it is seen once its parent's has gone.
    rules: list[asyncpg.Record] = []
    while found := await target.fetch(_RULES):
        for rule in found:
            table = quoted(rule["schema"], rule["table"])
            await target.execute(f"ALTER TABLE {table} DROP CONSTRAINT {quoted(rule['name'])}")
        rules += found
    back = [statement for rule in reversed(rules) for statement in _rule_back(rule)]
    judged = tuple(
        _Judged(
            f"{rule['table']}, rule {rule['name']},",
            f"ALTER TABLE {quoted(rule['schema'], rule['table'])} VALIDATE CONSTRAINT {quoted(rule['name'])}",
        )
        for rule in rules
        if not rule["loose"]
    )
    for each in await target.fetch(_DOMAIN_RULES):
        domain = quoted(each["schema"], each["domain"])
        await target.execute(f"ALTER DOMAIN {domain} DROP CONSTRAINT {quoted(each['name'])}")
        back.append(f"ALTER DOMAIN {domain} ADD CONSTRAINT {quoted(each['name'])} {each['definition']}")
        back += _comment(each, f"DOMAIN {domain}")
    for each in await target.fetch(_TRIGGERS, ["A", "R"] if replica else ["A", "R", "O"]):
        table, name = quoted(each["schema"], each["table"]), quoted(each["name"])
        await target.execute(f"ALTER TABLE ONLY {table} DISABLE TRIGGER {name}")
        back.append(f"ALTER TABLE ONLY {table} {_MODES[each['mode']]} TRIGGER {name}")
    for each in await target.fetch(_FORCED):
        table = quoted(each["schema"], each["table"])
        await target.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        back.append(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    if not replica:
        judged += await _without_references(target)
    return Suspended(tuple(back), judged)


async def _without_references(target: Connection) -> tuple[_Judged, ...]:
    """Drop the foreign keys; the statements that bring them back judge the rows."""
    judged = []
    for each in await target.fetch(_REFERENCES):
        table, name = quoted(each["schema"], each["table"]), quoted(each["name"])
        await target.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        back = (f"ALTER TABLE {table} ADD CONSTRAINT {name} {each['definition']}", *_comment(each, table))
        judged.append(_Judged(f"{each['table']}, reference {each['name']},", "; ".join(back)))
    return tuple(judged)


async def resume(target: Connection, suspended: Suspended) -> None:
    """Bring everything back. Raises Failure, naming the rule, when one that held does not hold any more."""
    for statement in suspended.back:
        await target.execute(statement)
    for rule in suspended.judged:
        try:
            await target.execute(rule.validate)
        except asyncpg.PostgresError as error:
            raise misfit(rule.subject, error) from error


def _rule_back(rule: asyncpg.Record) -> Sequence[str]:
    table, loose = quoted(rule["schema"], rule["table"]), " NOT VALID"
    definition = rule["definition"].removesuffix(loose)
    add = f"ALTER TABLE {table} ADD CONSTRAINT {quoted(rule['name'])} {definition}{loose}"
    return add, *_comment(rule, table)


def _comment(rule: asyncpg.Record, owner: str) -> Sequence[str]:
    if rule["comment"] is None:
        return ()
    return (f"COMMENT ON CONSTRAINT {quoted(rule['name'])} ON {owner} IS {literal(rule['comment'])}",)
