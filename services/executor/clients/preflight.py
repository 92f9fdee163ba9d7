"""What a server lacks for migrations to run, found before any of them does."""

from collections.abc import Iterator, Sequence

from services.executor.clients.migration_files import FOLDER, Migration
from services.executor.clients.misfits import finding
from services.executor.clients.postgres import Connection, session
from services.executor.clients.reading import read_in_child
from services.executor.clients.role_powers import ownership_cure, table_cure
from services.executor.clients.script_needs import Extension, Needs, Provided, needs_of
from services.executor.clients.surroundings import CONNECTIONS
from shared.clients.database_urls import schema_of
from shared.contracts.stages import Finding

# Not superusers, but providers let them create extensions.
_ADMINISTRATORS = [
    *("rds_superuser", "cloudsqlsuperuser", "azure_pg_admin", "alloydbsuperuser", "doadmin"),
    "neon_superuser",
]
_SERVER = """
    SELECT current_user AS role, current_database() AS database, pg_is_in_recovery() AS standby,
        current_setting('transaction_read_only')::bool AS read_only,
        current_setting('server_version_num')::int / 10000 AS version,
        current_setting('standard_conforming_strings') AS strings,
        current_setting('session_replication_role') AS replication_role,
        r.rolsuper OR EXISTS (SELECT FROM pg_roles a WHERE a.rolname = ANY($2::text[])
            AND pg_has_role(a.oid, 'MEMBER')) AS administrator,
        has_database_privilege(current_database(), 'CREATE') AS may_create,
        to_regnamespace(quote_ident($1)) IS NOT NULL AS has_schema,
        coalesce(has_schema_privilege(to_regnamespace(quote_ident($1))::oid, 'CREATE'), false) AS may_fill,
        to_regnamespace('upgradepath') IS NOT NULL AS has_ours
    FROM pg_roles r WHERE r.rolname = current_user
"""
_EXTENSIONS = """
    SELECT e.name, e.installed_version,
        coalesce((to_jsonb(v) ->> 'trusted')::bool, false) OR NOT v.superuser AS trusted
    FROM pg_available_extensions e
    LEFT JOIN pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version
    WHERE e.name = ANY($1::text[]) OR e.installed_version IS NOT NULL
"""
_RIGHTS = """
    SELECT w.name, w.wanted, r.rolname AS owner, r.rolsuper AS superuser
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (name, wanted, place)
    JOIN pg_class c ON c.oid = to_regclass(w.name) JOIN pg_roles r ON r.oid = c.relowner
    WHERE NOT CASE w.wanted WHEN 'owner' THEN pg_has_role(c.relowner, 'USAGE')
        ELSE has_table_privilege(c.oid, w.wanted) END
    ORDER BY w.place
"""
# Of these tables the role would see some rows only, and take them for all.
_HIDDEN = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name, o.rolname AS owner, o.rolsuper AS superuser,
        c.relforcerowsecurity AS forced
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND row_security_active(c.oid) ORDER BY 1
"""
_LIMITS = """
    SELECT r.rolconnlimit AS role_limit, d.datconnlimit AS database_limit
    FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()
"""
# They hold their locks until somebody ends them, whatever becomes of who made them.
_PREPARED = """
    SELECT p.transaction::text AS number, p.owner, extract(epoch FROM now() - p.prepared)::int AS age_s,
        string_agg(DISTINCT l.relation::regclass::text, ', ') AS tables
    FROM pg_prepared_xacts p
    JOIN pg_locks x ON x.pid IS NULL AND x.transactionid::text = p.transaction::text
    JOIN pg_locks l ON l.pid IS NULL AND l.virtualtransaction = x.virtualtransaction
        AND l.relation = ANY(ARRAY(SELECT to_regclass(t)::oid FROM unnest($1::text[]) AS t))
    WHERE p.database = current_database() GROUP BY 1, 2, 3 ORDER BY 1
"""
_THERE = {
    "type": "SELECT to_regtype($1) IS NOT NULL",
    "operator class": "SELECT EXISTS (SELECT FROM pg_opclass WHERE opcname = $1)",
    "function": "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = $1)",
}


async def lacking(url: str, pending: Sequence[Migration]) -> list[Finding]:
    """Why the server, the database or the role there cannot run these, each with its cure; writes nothing.

    A standby or read-only database, extensions that are not installed or not permitted, a version too old for
    what is written, privileges, rows that the role may not see, limits, prepared transactions.
    Raises Retry when the database cannot be asked.
    """
    if not pending:
        return []
    schema = schema_of(url)
    needs = await read_in_child(FOLDER, needs_of, pending, schema)
    async with session(url) as connection:
        server = await connection.fetchrow(_SERVER, schema, _ADMINISTRATORS)
        return [
            *_of_server(server, schema, needs),
            *await _of_extensions(connection, server, needs),
            *await _of_rights(connection, server["role"], schema, needs),
            *await _of_rows(connection, server["role"]),
            *await _of_others(connection, server, needs),
        ]


def _of_server(server: dict[str, object], schema: str, needs: Needs) -> Iterator[Finding]:
    role, database = server["role"], server["database"]
    if server["standby"] or server["read_only"]:
        what = "a standby" if server["standby"] else "read-only"
        yield finding(f"{database}", f"The database is {what}.", "name the primary's URL in the secret")
        return
    for name, value, wanted, why in (
        (
            "standard_conforming_strings",
            server["strings"],
            "on",
            "scripts are read otherwise than by us",
        ),
        ("session_replication_role", server["replication_role"], "origin", "rules and triggers are left out"),
    ):
        if value != wanted:
            cure = f'ALTER ROLE "{role}" SET {name} = {wanted}'
            yield finding(name, f"It is {value} for {role} in {database}: {why}.", cure)
    for (written, version), place in needs.versions.items():
        if int(str(server["version"])) < version:
            detail = f"{written} needs PostgreSQL {version}, and the server is {server['version']}."
            yield finding(place, detail, "upgrade the server, or ask for a release without it")
    grant = f'GRANT CREATE ON DATABASE "{database}" TO "{role}"'
    if not server["may_create"]:
        if not server["has_ours"]:
            cure = f'{grant}, or CREATE SCHEMA upgradepath AUTHORIZATION "{role}"'
            yield finding("schema upgradepath", f"{role} may not create our schema in {database}.", cure)
        if not server["has_schema"]:
            yield finding(f"schema {schema}", f"{role} may not create it in {database}.", grant)
        for place in needs.new_schemas.values():
            yield finding(place, f"{role} may not create a schema in {database}.", grant)
    if server["has_schema"] and not server["may_fill"]:
        cure = f'GRANT CREATE ON SCHEMA "{schema}" TO "{role}"'
        yield finding(f"schema {schema}", f"{role} may not create anything in it.", cure)


async def _of_extensions(connection: Connection, server: dict[str, object], needs: Needs) -> list[Finding]:
    if not needs.extensions and not needs.provided:
        return []
    named = [extension.name for extension in needs.extensions]
    rows = await connection.fetch(_EXTENSIONS, named + [each.extension for each in needs.provided])
    known = {row["name"]: row for row in rows}
    there = {row["name"] for row in rows if row["installed_version"] is not None}
    found: list[Finding] = []
    for extension in needs.extensions:
        found += _of_extension(extension, server, known.get(extension.name), there)
        there.add(extension.name)
    for each in needs.provided:
        if each.extension not in there and not await connection.fetchval(_THERE[each.kind], each.thing):
            found.append(_not_provided(each, each.extension in known))
            there.add(each.extension)
    return found


def _of_extension(
    extension: Extension, server: dict[str, object], row: dict[str, object] | None, there: set[str]
) -> Iterator[Finding]:
    name, place = extension.name, extension.place
    if name in there:
        if not extension.if_not_exists:
            yield finding(place, f"Extension {name} is there already.", "write IF NOT EXISTS")
        return
    if row is None:
        cure = f"install the package that brings {name} on the database server, then request a new plan"
        yield finding(place, f"Extension {name} is not available on the server.", cure)
        return
    if not server["administrator"] and not (row["trusted"] and server["may_create"]):
        cure = f'let a superuser run CREATE EXTENSION "{name}" there, then request a new plan'
        yield finding(place, f"{server['role']} is not permitted to create extension {name}.", cure)


def _not_provided(each: Provided, available: bool) -> Finding:
    cure = f"run CREATE EXTENSION {each.extension} there, then request a new plan"
    if not available:
        cure = f"install the package that brings {each.extension} on the database server, then {cure}"
    detail = f"The {each.kind} {each.thing} comes with extension {each.extension}, which is not installed."
    return finding(each.place, detail, cure)


async def _of_rights(connection: Connection, role: str, schema: str, needs: Needs) -> list[Finding]:
    table = f'"{schema}"._prisma_migrations'
    wanted = {(table, right): table for right in ("SELECT", "INSERT", "UPDATE", "DELETE")} | needs.rights
    names, rights = zip(*wanted, strict=True)
    found = []
    for row in await connection.fetch(_RIGHTS, names, rights):
        place = wanted[row["name"], row["wanted"]]
        if row["wanted"] == "owner":
            detail = f"{role} does not own {row['name']}; {row['owner']} does."
            cure = ownership_cure(row["owner"], role, superuser=row["superuser"])
        else:
            detail = f"{role} lacks {row['wanted']} on {row['name']}."
            cure = f'GRANT {row["wanted"]} ON {row["name"]} TO "{role}"'
        found.append(finding(place, detail, cure))
    return found


async def _of_rows(connection: Connection, role: str) -> list[Finding]:
    found = []
    for row in await connection.fetch(_HIDDEN):
        cure = f'ALTER ROLE "{role}" BYPASSRLS'
        if row["forced"]:
            cure += f", or ALTER TABLE {row['name']} NO FORCE ROW LEVEL SECURITY as its owner"
        else:
            cure += f", or {table_cure(row['name'], row['owner'], role, superuser=row['superuser'])}"
        detail = (
            f"Row-level security may hide rows of {row['name']} from {role}: what is counted, dumped and"
            " copied would not be all."
        )
        found.append(finding(row["name"], detail, cure))
    return found


async def _of_others(connection: Connection, server: dict[str, object], needs: Needs) -> list[Finding]:
    found = []
    limits = await connection.fetchrow(_LIMITS)
    role, database = f'ROLE "{server["role"]}"', f'DATABASE "{server["database"]}"'
    for what, limit in ((role, limits["role_limit"]), (database, limits["database_limit"])):
        if 0 <= limit < CONNECTIONS:
            detail = f"An upgrade takes up to {CONNECTIONS} connections at once, and {limit} are permitted."
            found.append(finding(what, detail, f"ALTER {what} CONNECTION LIMIT {CONNECTIONS}, or more"))
    for row in await connection.fetch(_PREPARED, sorted({name for name, _ in needs.rights})):
        detail = (
            f"Transaction {row['number']}, prepared by {row['owner']} {row['age_s']} s ago, holds locks on"
            f" {row['tables']}, and does not end by itself."
        )
        cure = "COMMIT PREPARED or ROLLBACK PREPARED it; pg_prepared_xacts has its name"
        found.append(finding(row["tables"], detail, cure))
    return found
