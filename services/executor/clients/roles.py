"""What a Project's database role may do beyond its own databases: it must be nothing.

The Project's programs get the URL, and whatever its role may do, they may do.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.executor.clients.postgres import quoted, session
from services.executor.clients.role_powers import PARAMETER_RIGHTS_FROM, handing_over, powers_of
from services.executor.clients.scratch_database import SCRATCH_NAME
from shared.clients.database_urls import database_of, with_database
from shared.contracts.stages import Finding

_MAINTENANCE = "postgres"
"""A database that every role may look into, and in which nobody keeps anything."""
_RUNS_DATABASE = re.compile(r"_run_[0-9a-f]{12}(_proof)?\Z")
_CUT_FROM_BYTES = 36
"""PostgreSQL's names have 63 bytes: so much is left of a longer one beside what ends our databases' names."""
_SAID = {
    "superuser": "a superuser",
    "createrole": "allowed to make roles",
    "replication": "allowed to replicate the whole server",
}
_ROLE = """
    SELECT r.rolname AS role, current_database() AS database, r.oid = 10 AS founder, r.rolsuper AS superuser,
        r.rolcreaterole AS createrole, r.rolreplication AS replication, r.rolcreatedb AS createdb,
        pg_postmaster_start_time() AS started, current_setting('server_version_num')::int / 10000 AS version
    FROM pg_roles r WHERE r.rolname = session_user
"""
_DATABASES = """
    SELECT d.datname AS name, o.rolname AS owner, o.rolname = session_user AS made,
        pg_has_role(session_user, d.datdba, 'MEMBER') AS owned,
        EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
            WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT') AS public
    FROM pg_database d JOIN pg_roles o ON o.oid = d.datdba
    WHERE pg_has_role(session_user, d.datdba, 'MEMBER')
        OR d.datallowconn AND NOT d.datistemplate AND EXISTS (SELECT FROM pg_roles m
            WHERE NOT m.rolsuper AND pg_has_role(session_user, m.oid, 'MEMBER')
            AND has_database_privilege(m.oid, d.oid, 'CONNECT'))
    ORDER BY 1
"""
"""What it may connect to by any role that it may become, and what it owns: an owner lets himself in. That a
superuser is among those roles is told by `powers_of`."""
_MAY_LOAD = "SELECT has_parameter_privilege('session_replication_role', 'SET')"


@dataclass(frozen=True)
class Role:
    """A role as its server describes it."""

    name: str
    database: str
    server: datetime
    """When its server was started: two URLs with the same moment lead to the same server."""
    findings: tuple[Finding, ...]


async def production_role(url: str) -> Role:
    """What production's role may do beyond its own database. Raises Retry when it cannot be asked."""
    async with session(url) as connection:
        row = await connection.fetchrow(_ROLE)
        found = [*_attributes(row, "production"), *await _powers(connection, row, "production")]
        if not row["superuser"]:
            databases = await connection.fetch(_DATABASES)
            found += _reached(row["role"], databases, "production", own=row["database"])
    return Role(row["role"], row["database"], row["started"], tuple(found))


async def staging_role(url: str, production: Role, *, masked: bool) -> Role:
    """The same of staging's, which makes a database for each Run; `masked` when it loads masked rows.

    Raises Retry when it cannot be asked.
    """
    own = database_of(url)
    async with session(with_database(url, _MAINTENANCE)) as connection:
        row = await connection.fetchrow(_ROLE)
        found = [*_attributes(row, "staging"), *await _powers(connection, row, "staging")]
        same_server = row["started"] == production.server
        if same_server and own == production.database:
            found.append(
                _finding(
                    "staging",
                    f"staging's URL names {own}, which is production's database",
                    "keep the URL of a database of staging's own as its secret",
                )
            )
        if not row["superuser"]:
            others = production.database if same_server else ""
            databases = await connection.fetch(_DATABASES)
            found += _reached(row["role"], databases, "staging", own=own, production=others)
            if not row["createdb"]:
                said = f"role {row['role']} may not make the databases of Runs"
                found.append(_finding("staging", said, f"ALTER ROLE {quoted(row['role'])} CREATEDB"))
            if (
                masked
                and row["version"] >= PARAMETER_RIGHTS_FROM
                and not await connection.fetchval(_MAY_LOAD)
            ):
                found.append(_may_not_load(row))
    return Role(row["role"], own, row["started"], tuple(found))


def _attributes(row: Any, environment: str) -> Iterator[Finding]:
    role = quoted(row["role"])
    held = [word for word in _SAID if row[word]]
    if held:
        without = " ".join(f"NO{word.upper()}" for word in held)
        yield _finding(
            environment,
            f"role {row['role']} is {' and '.join(map(_SAID.__getitem__, held))}: it reaches others' data",
            _new_role(row, environment)
            if row["founder"]
            else f"ALTER ROLE {role} {without}; {_enough(row, environment)}",
        )


async def _powers(connection: Any, row: Any, environment: str) -> list[Finding]:
    if row["superuser"]:
        return []
    enough = _enough(row, environment)
    found = await powers_of(connection, row["role"], row["version"])
    return [_finding(environment, said, f"{cure}; {enough}") for said, cure in found]


def _enough(row: Any, environment: str, name: str = "") -> str:
    """The rights that suffice, for the role of the row or another that is named."""
    role, database = quoted(name or row["role"]), row["database"]
    if environment == "staging":
        loads = f"; GRANT SET ON PARAMETER session_replication_role TO {role}"
        return f"ALTER ROLE {role} CREATEDB{loads if row['version'] >= PARAMETER_RIGHTS_FROM else ''}"
    owned = f"ALTER DATABASE {quoted(database)} OWNER TO {role}"
    made = f"ALTER ROLE {role} CREATEDB"
    return f"{owned}; {made}; and connected to {database}: ALTER SCHEMA public OWNER TO {role}"


def _new_role(row: Any, environment: str) -> str:
    """The server's founder stays a superuser: the Project needs another role."""
    database = row["database"]
    name = f"{database}_app" if environment == "production" else "staging_app"
    made = f"CREATE ROLE {quoted(name)} LOGIN PASSWORD '…'; {_enough(row, environment, name)}"
    if environment == "production":
        made += f", and {handing_over(name)}"
    return f"{made}; then keep its URL as the secret"


def _reached(
    role: str, databases: list[Any], environment: str, *, own: str, production: str = ""
) -> Iterator[Finding]:
    for row in databases:
        name = row["name"]
        ending = _RUNS_DATABASE if environment == "staging" else SCRATCH_NAME
        ours = row["made"] and _is_named_after(own, name, ending)
        if name != production and (name in (_MAINTENANCE, own) or ours):
            continue
        what = "production's database" if name == production else "which is not its own"
        database = quoted(name)
        if row["public"]:
            cure = f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC; GRANT CONNECT ON DATABASE {database}"
            cure += " TO the roles that use it"
        elif row["owned"] and not row["made"]:
            cure = f"REVOKE {quoted(row['owner'])} FROM {quoted(role)} and the roles that it is in"
        elif row["owned"]:
            cure = f"give {environment} a role that owns nothing else, or ALTER DATABASE {database} OWNER TO"
            cure += " another"
        else:
            cure = f"REVOKE CONNECT ON DATABASE {database} FROM {quoted(role)} and the roles that it is in"
        yield _finding(environment, f"role {role} may connect to database {name}, {what}", cure)


def _is_named_after(own: str, name: str, ending: re.Pattern[str]) -> bool:
    """Whether a database is named as ours are: `<own database>_<run>`, the first part cut if it is long."""
    found = ending.search(name)
    if found is None:
        return False
    first = name[: found.start()]
    return own == first or (own.startswith(first) and len(first.encode()) >= _CUT_FROM_BYTES)


def _may_not_load(row: Any) -> Finding:
    said = f"role {row['role']} may not load masked rows without firing triggers"
    cure = f"GRANT SET ON PARAMETER session_replication_role TO {quoted(row['role'])}"
    return _finding("staging", said, cure)


def _finding(environment: str, detail: str, cure: str) -> Finding:
    where = f"environments.{environment}.database"
    return Finding(kind="environment", subject=where, detail=detail, cure=cure)
