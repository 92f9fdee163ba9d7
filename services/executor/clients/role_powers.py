"""Powers over a whole server, each judged: what a Project's role must not have, and what it may.

It may have CREATEDB, for the databases of Runs and of a backup's trial; BYPASSRLS, because a backup of its
own tables needs it where they have forced row security, and it opens no other database; and be the owner of
its own database, which is all that `pg_database_owner` means.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from services.executor.clients.postgres import quoted

POWERS: Final[Mapping[str, str]] = {
    "pg_read_server_files": "reads the server's files, which hold everybody's rows",
    "pg_write_server_files": "writes the server's files, which hold everybody's rows",
    "pg_execute_server_program": "runs programs on the server",
    "pg_read_all_data": "reads every table of each database that it may connect to",
    "pg_write_all_data": "writes every table of each database that it may connect to",
    "pg_maintain": "locks every table of each database that it may connect to",
    "pg_signal_backend": "ends the sessions of others",
    "pg_signal_autovacuum_worker": "ends the server's own maintenance",
    "pg_monitor": "sees what others ask of the server, with the values in it",
    "pg_read_all_stats": "sees what others ask of the server, with the values in it",
    "pg_read_all_settings": "reads settings that only superusers see, such as how the server reaches others",
    "pg_stat_scan_tables": "locks others' tables while it looks at them",
    "pg_create_subscription": "lets the server connect to any host",
    "pg_checkpoint": "makes the whole server write at once, as often as it likes",
    "pg_use_reserved_connections": "takes the connections that are kept for operators",
    "rds_superuser": "governs the server",
    "cloudsqlsuperuser": "governs the server",
    "azure_pg_admin": "governs the server",
    "alloydbsuperuser": "governs the server",
    "doadmin": "governs the server",
    "neon_superuser": "governs the server",
    "rds_replication": "copies the whole server",
}
"""Roles that PostgreSQL and its hosts give powers, and what those reach."""

_GRANTED = """
    SELECT g.rolname::text AS granted, array_agg(DISTINCT m.rolname::text) AS powers
    FROM pg_auth_members a
    JOIN pg_roles u ON u.oid = a.member AND u.rolname = session_user
    JOIN pg_roles g ON g.oid = a.roleid
    JOIN pg_roles m ON (m.oid = g.oid OR (NOT g.rolsuper AND pg_has_role(g.oid, m.oid, 'MEMBER')))
        AND (m.rolsuper OR m.rolcreaterole OR m.rolreplication OR m.rolname = ANY($1::text[]))
    GROUP BY g.rolname ORDER BY 1
"""
"""Of each grant to the role itself the powers that it leads to, over however many roles.

`MEMBER` counts whatever a membership allows, INHERIT, SET or ADMIN alone: who administers one grants the
rest.
"""
_SETTINGS = """
    SELECT p.parname AS name, m.rolname::text AS granted
    FROM pg_parameter_acl p, aclexplode(p.paracl) x JOIN pg_roles m ON m.oid = x.grantee
    WHERE x.privilege_type = 'ALTER SYSTEM' AND pg_has_role(session_user, m.oid, 'MEMBER') ORDER BY 1, 2
"""
PARAMETER_RIGHTS_FROM = 15
"""Earlier servers let superusers alone set what is a superuser's to set."""


async def powers_of(connection: Any, role: str, version: int) -> list[tuple[str, str]]:
    """What a role may do beyond its databases, each with the statement that takes it away.

    `connection` is that role's own, of a server of that major version. A superuser has everything anyway.
    """
    found = [
        (_said(role, row["granted"], row["powers"]), f"REVOKE {quoted(row['granted'])} FROM {quoted(role)}")
        for row in await connection.fetch(_GRANTED, list(POWERS))
    ]
    if version >= PARAMETER_RIGHTS_FROM:
        for row in await connection.fetch(_SETTINGS):
            name, granted = row["name"], quoted(row["granted"])
            found.append(
                (
                    f"role {role} may set {name} for the whole server",
                    f"REVOKE ALTER SYSTEM ON PARAMETER {name} FROM {granted}",
                )
            )
    return found


def _said(role: str, granted: str, powers: list[str]) -> str:
    if granted in powers:
        return f"role {role} is a member of {granted}, which {_reach(granted)}"
    through = " and ".join(f"{power}, which {_reach(power)}" for power in _first(powers))
    return f"role {role} is a member of {granted}, and by that of {through}"


def _first(powers: list[str]) -> Iterator[str]:
    """Those that no other one of them stands for."""
    for power in sorted(powers):
        if not (power.startswith(("pg_read_all_s", "pg_stat_")) and "pg_monitor" in powers):
            yield power


def _reach(power: str) -> str:
    return POWERS.get(power, "governs the server, its roles or its copies")


def ownership_cure(owner: str, role: str, *, superuser: bool) -> str:
    """How a role gets what another one owns. A member of a superuser would be one itself, and is refused."""
    return _or_member(handing_over(role), owner, role, superuser=superuser)


def handing_over(role: str) -> str:
    """How a role gets all that somebody else owns in a database."""
    return (
        f"ALTER … OWNER TO {quoted(role)} for each of them: TABLE, SEQUENCE, VIEW, TYPE, FUNCTION"
        " (docs/adoption.md has a statement that prints these)"
    )


def table_cure(table: str, owner: str, role: str, *, superuser: bool) -> str:
    """The same for one table, whose name is quoted already."""
    return _or_member(f"ALTER TABLE {table} OWNER TO {quoted(role)}", owner, role, superuser=superuser)


def _or_member(given: str, owner: str, role: str, *, superuser: bool) -> str:
    return given if superuser else f"GRANT {quoted(owner)} TO {quoted(role)}, or {given}"
