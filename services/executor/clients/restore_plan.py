"""How a database is emptied before its archive fills it again, by a role that need not be a superuser.

The role drops what is its own to drop. An extension that the archive has stays, with whatever schema it lies
in: only its owner may drop it, and a new one may be of another version. A schema that is another's is emptied
of what the role may drop. A schema in which nothing is the role's belongs to the hosting and is left alone.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.executor.clients.misfits import finding
from services.executor.clients.postgres import Connection, quoted, session
from services.executor.clients.role_powers import ownership_cure
from shared.contracts.stages import Finding

# A superuser is a member of every role.
_MINE = "pg_has_role({owner}, 'MEMBER')"
_OWNED = """
    SELECT relnamespace AS schema, relowner AS owner, 'pg_class'::regclass AS class, oid FROM pg_class
    WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL SELECT pronamespace, proowner, 'pg_proc'::regclass, oid FROM pg_proc
    UNION ALL SELECT typnamespace, typowner, 'pg_type'::regclass, oid FROM pg_type
    WHERE typtype IN ('e', 'd', 'r', 'b') AND typelem = 0
"""
_SCHEMAS = f"""
    SELECT n.nspname AS name, {_MINE.format(owner="n.nspowner")} AS mine,
        EXISTS (SELECT FROM ({_OWNED}) o WHERE o.schema = n.oid AND {_MINE.format(owner="o.owner")}
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid
                AND d.deptype = 'e')) AS used,
        EXISTS (SELECT FROM pg_extension e WHERE e.extnamespace = n.oid) AS extended
    FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'upgradepath')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass
        AND d.objid = n.oid AND d.deptype = 'e')
    ORDER BY n.nspname
"""
# What stands in a schema by itself: a table's type, index, rule or identity goes with its table. A column of
# a partitioned table's key belongs to its table as well, which says nothing of the table.
_CONTENTS = """
    SELECT DISTINCT found.type, found.identity
    FROM pg_depend d, pg_identify_object(d.classid, d.objid, 0) found
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = to_regnamespace(quote_ident($1))
    AND d.deptype = 'n' AND found.type NOT IN ('extension', 'default acl')
    AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid
        AND e.objsubid = 0 AND e.deptype IN ('e', 'i'))
    ORDER BY 1, 2
"""
# What an archive makes and no schema takes along; event triggers first, as the rest of it would fire them.
_OUTSIDE = """
    WITH made AS (
        SELECT 1 AS place, 'pg_event_trigger'::regclass AS class, oid, evtowner AS owner,
            format('EVENT TRIGGER %I', evtname) AS name FROM pg_event_trigger
        UNION ALL SELECT 2, 'pg_publication'::regclass, oid, pubowner, format('PUBLICATION %I', pubname)
        FROM pg_publication
        UNION ALL SELECT 3, 'pg_foreign_server'::regclass, oid, srvowner,
            format('SERVER %I CASCADE', srvname) FROM pg_foreign_server
        UNION ALL SELECT 4, 'pg_foreign_data_wrapper'::regclass, oid, fdwowner,
            format('FOREIGN DATA WRAPPER %I CASCADE', fdwname) FROM pg_foreign_data_wrapper
        UNION ALL SELECT 5, 'pg_cast'::regclass, k.oid, t.typowner,
            format('CAST (%s AS %s)', k.castsource::regtype, k.casttarget::regtype)
        FROM pg_cast k JOIN pg_type t ON t.oid = k.castsource WHERE k.oid >= 16384
    )
    SELECT 'DROP ' || name AS command, place FROM made WHERE pg_has_role(owner, 'MEMBER') AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.classid = made.class AND d.objid = made.oid AND d.deptype = 'e')
    UNION ALL SELECT 'SELECT count(lo_unlink(oid)) FROM pg_largeobject_metadata', 6
    WHERE EXISTS (SELECT FROM pg_largeobject_metadata)
    ORDER BY place, command
"""
_EXTENSIONS = """
    SELECT e.extname AS name, pg_has_role(e.extowner, 'MEMBER') AS mine, e.extversion AS version,
        (SELECT n.nspname FROM pg_namespace n WHERE n.oid = e.extnamespace) AS schema,
        (SELECT array_agg(n.nspname || ' ' || c.relname) FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY(e.extconfig)) AS tables
    FROM pg_extension e WHERE e.extname <> 'plpgsql' ORDER BY e.oid
"""
_DUMPED_BY = re.compile(r"^;\s+Dumped by pg_dump version: (\d+)")
_PUBLIC_IS_CLOSED = 15
"""From this version on a new database's `public` lets nobody create in it but its owner."""
_FIRST = ("SCHEMA - ", "ACL - SCHEMA ")
_ENTRY = re.compile(r"\d+; \d+ \d+ (?P<entry>.*)")
_OTHERS = f"""
    SELECT r.rolname AS owner, r.rolsuper AS superuser, count(*) AS things,
        (array_agg(found.identity ORDER BY found.identity))[1] AS one
    FROM ({_OWNED}) o JOIN pg_namespace n ON n.oid = o.schema JOIN pg_roles r ON r.oid = o.owner,
        pg_identify_object(o.class, o.oid, 0) found
    WHERE n.nspname = ANY($1::text[]) AND NOT {_MINE.format(owner="o.owner")}
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid
        AND d.objsubid = 0 AND (d.deptype IN ('e', 'i') OR d.deptype = 'a' AND d.refobjsubid > 0))
    GROUP BY 1, 2 ORDER BY 1
"""
# A schema that is the role's own is dropped and made again; in one of another's it makes its things again.
_MAY_NOT_MAKE = """
    SELECT format('SCHEMA %I', name) AS place FROM unnest($1::text[]) AS name
    WHERE NOT has_schema_privilege(name, 'CREATE')
    UNION ALL SELECT format('DATABASE %I', current_database())
    WHERE $2 AND NOT has_database_privilege(current_database(), 'CREATE')
"""
_PUBLISHED = """
    SELECT DISTINCT p.pubname AS name, r.rolname AS owner FROM pg_publication p
    JOIN pg_roles r ON r.oid = p.pubowner JOIN pg_publication_tables t ON t.pubname = p.pubname
    WHERE NOT pg_has_role(p.pubowner, 'MEMBER') AND NOT p.puballtables ORDER BY 1
"""


@dataclass(frozen=True)
class RestorePlan:
    """The commands that empty the database, and the archive's lines to bring back.

    Schemas and the rights on them come first: whoever is given a table must be allowed to have one there. In
    one go pg_restore grants all rights last, which is early enough for a superuser alone.
    """

    clear: tuple[str, ...]
    schemas: tuple[str, ...]
    rest: tuple[str, ...]


async def foreign_schemas(connection: Connection) -> list[str]:
    """Schemas in which nothing is the role's: a provider's. Neither dumped nor restored."""
    return [row["name"] for row in await connection.fetch(_SCHEMAS) if not row["mine"] and not row["used"]]


async def plan_restore(connection: Connection, listing: Sequence[str]) -> RestorePlan:
    """From the database as it stands and the lines of `pg_restore --list`."""
    archived = {entry.split()[2] for entry in _entries(listing).values() if entry.startswith("EXTENSION - ")}
    clear = [row["command"] for row in await connection.fetch(_OUTSIDE)]
    kept_extensions: set[str] = set()
    skipped: set[str] = set()
    for row in await connection.fetch(_EXTENSIONS):
        name = row["name"]
        if name in archived or not row["mine"]:
            kept_extensions.add(name)
            skipped |= {f"EXTENSION - {name}", f"COMMENT - EXTENSION {name}"}
            skipped |= {f"TABLE DATA {table}" for table in row["tables"] or ()}
        else:
            clear.append(f"DROP EXTENSION {quoted(name)} CASCADE")
    for row in await connection.fetch(_SCHEMAS):
        if not row["mine"] and not row["used"]:
            continue
        name = row["name"]
        if row["mine"] and not await _holds(connection, name, kept_extensions):
            clear.append(f"DROP SCHEMA {quoted(name)} CASCADE")
            if name == "public":
                clear += await _standard_public(connection, listing)
            continue
        found = await connection.fetch(_CONTENTS, name)
        clear += [f"DROP {_word(each['type'])} IF EXISTS {each['identity']} CASCADE" for each in found]
        skipped |= {f"SCHEMA - {name}"}
        if not row["mine"]:
            skipped |= {f"ACL - SCHEMA {name}", f"COMMENT - SCHEMA {name}"}
    superuser = await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    first, rest = _kept(listing, skipped, superuser=superuser)
    return RestorePlan(tuple(clear), first, rest)


async def _standard_public(connection: Connection, listing: Sequence[str]) -> list[str]:
    """The schema as an archive takes it for granted: programs of before 15 know neither its owner nor that
    everybody's right to create there is gone."""
    if _dumped_by(listing) < _PUBLIC_IS_CLOSED:
        owner = await connection.fetchval(
            "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'"
        )
        rights = "ALL"
    else:
        # Where there is no such role, the archive says whose it is.
        there = await connection.fetchval("SELECT to_regrole('pg_database_owner') IS NOT NULL")
        owner, rights = ("pg_database_owner" if there else None), "USAGE"
    return [
        f"CREATE SCHEMA public AUTHORIZATION {quoted(owner) if owner else 'CURRENT_USER'}",
        f"GRANT {rights} ON SCHEMA public TO PUBLIC",
        "COMMENT ON SCHEMA public IS 'standard public schema'",
    ]


def _dumped_by(listing: Sequence[str]) -> int:
    """The major version of the program that made the archive."""
    found = (_DUMPED_BY.search(line) for line in listing)
    return next((int(each[1]) for each in found if each), _PUBLIC_IS_CLOSED)


def _entries(listing: Sequence[str]) -> dict[str, str]:
    return {line: found["entry"] for line in listing if (found := _ENTRY.match(line))}


def _kept(
    listing: Sequence[str], skipped: Collection[str], *, superuser: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The lines to bring back: schemas with the rights on them, and the others."""
    entries = _entries(listing)
    kept = [
        line
        for line in listing
        if (entry := entries.get(line)) is None or not _skipped(entry, skipped, superuser=superuser)
    ]
    first = [line for line in kept if entries.get(line, "").startswith(_FIRST)]
    return tuple(first), tuple(line for line in kept if line not in set(first))


@dataclass(frozen=True)
class Extension:
    """An extension of a database, as it would have to be made in a copy of it."""

    name: str
    schema: str
    version: str


@dataclass(frozen=True)
class CopyPlan:
    """What an empty database needs to become a copy: schemas of others' to stand in for, extensions, and the
    archive's lines. What a restore leaves where it is (`plan_restore`) is not among them."""

    stand_ins: tuple[str, ...]
    first: tuple[str, ...]
    """Commands that make the new database such as the archive takes for granted."""
    extensions: tuple[Extension, ...]
    schemas: tuple[str, ...]
    rest: tuple[str, ...]


async def plan_copy(connection: Connection, listing: Sequence[str]) -> CopyPlan:
    """From the database that was dumped and the lines of `pg_restore --list`.

    Rights at other servers stay out: nothing in a copy may reach another server with them.
    """
    skipped = {"USER MAPPING - "}
    extensions = []
    for row in await connection.fetch(_EXTENSIONS):
        extensions.append(Extension(row["name"], row["schema"], row["version"]))
        skipped |= {f"EXTENSION - {row['name']}", f"COMMENT - EXTENSION {row['name']}"}
        skipped |= {f"TABLE DATA {table}" for table in row["tables"] or ()}
    stand_ins, begin = [], []
    version = await connection.fetchval("SELECT current_setting('server_version_num')::int / 10000")
    opens = version < _PUBLIC_IS_CLOSED <= _dumped_by(listing)
    for row in await connection.fetch(_SCHEMAS):
        if row["name"] == "public" and row["mine"] and opens:
            begin.append("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        if row["used"] and not row["mine"]:
            name = row["name"]
            stand_ins.append(name)
            skipped |= {f"SCHEMA - {name}", f"ACL - SCHEMA {name}", f"COMMENT - SCHEMA {name}"}
    superuser = await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    first, rest = _kept(listing, skipped, superuser=superuser)
    return CopyPlan(tuple(stand_ins), tuple(begin), tuple(extensions), first, rest)


async def cannot_restore(url: str) -> list[Finding]:
    """Why this role could not bring back what it dumps, each with the right that it needs; writes nothing."""
    found = []
    async with session(url) as connection:
        role = await connection.fetchval("SELECT current_user")
        schemas = await connection.fetch(_SCHEMAS)
        used = [row["name"] for row in schemas if row["mine"] or row["used"]]
        others = [row["name"] for row in schemas if row["used"] and not row["mine"]]
        for row in await connection.fetch(_MAY_NOT_MAKE, others, any(row["mine"] for row in schemas)):
            detail = f"A restore by {role} would stop: it may not create in {row['place']}."
            found.append(finding(row["place"], detail, f"GRANT CREATE ON {row['place']} TO {quoted(role)}"))
        for row in await connection.fetch(_OTHERS, used):
            detail = (
                f"A backup could not be restored by {role}: {row['things']} things belong to"
                f" {row['owner']}, {row['one']} among them, and only its members may give them back."
            )
            cure = ownership_cure(row["owner"], role, superuser=row["superuser"])
            found.append(finding(row["one"], detail, cure))
        for row in await connection.fetch(_PUBLISHED):
            detail = f"A restore by {role} would leave publication {row['name']} without its tables."
            found.append(finding(f"publication {row['name']}", detail, f'GRANT "{row["owner"]}" TO "{role}"'))
    return found


async def _holds(connection: Connection, schema: str, extensions: Collection[str]) -> bool:
    """The schema holds one of these extensions, or a thing of one."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_extension e WHERE e.extname = ANY($2::text[])"
        " AND (e.extnamespace = to_regnamespace(quote_ident($1)) OR EXISTS ("
        "SELECT FROM pg_depend d, pg_depend n WHERE d.refclassid = 'pg_extension'::regclass"
        " AND d.refobjid = e.oid AND d.deptype = 'e' AND n.classid = d.classid AND n.objid = d.objid"
        " AND n.refclassid = 'pg_namespace'::regclass AND n.refobjid = to_regnamespace(quote_ident($1)))))",
        schema,
        list(extensions),
    )
    return found


def _word(kind: str) -> str:
    return "STATISTICS" if kind == "statistics object" else kind.upper()


def _skipped(entry: str, skipped: Collection[str], *, superuser: bool) -> bool:
    """An entry ends in its owner, which the lines to leave out do not name."""
    return any(entry == each or entry.startswith(f"{each.rstrip()} ") for each in skipped) or (
        not superuser and entry.startswith(("EVENT TRIGGER ", "FOREIGN DATA WRAPPER "))
    )
