"""A Project's role reaches its own databases alone; what is told as a cure suffices.

Each case would catch a role by which a Project's programs reach the server, its files or another's rows.
"""

import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest

from local.roles import new_role, plain_role
from services.executor.clients.postgres import create_database, drop_database, session
from services.executor.clients.role_powers import POWERS as JUDGED
from services.executor.clients.roles import production_role, staging_role
from shared.clients.database_urls import database_of, with_database
from shared.contracts.stages import Finding
from tests.conftest import NewDatabase, PostgresServer


class Server:
    """A Project's two roles, another's database, and the server's own superuser."""

    def __init__(self, admin: str, production: str, staging: str, other: str) -> None:
        self.admin, self.production, self.staging, self.other = admin, production, staging, other

    async def execute(self, sql: str, url: str | None = None) -> None:
        async with session(url or self.admin) as connection:
            for statement in sql.split(";"):
                await connection.execute(statement.strip() or "SELECT 1")

    async def found(self) -> tuple[Finding, ...]:
        production = await production_role(self.production)
        staging = await staging_role(self.staging, production, masked=True)
        return (*production.findings, *staging.findings)


@pytest.fixture
async def server(postgres: PostgresServer, new_database: NewDatabase) -> Server:
    made, other = await new_database(), await new_database()
    production = await plain_role(made)
    staging = await new_role(made, f"{database_of(made)}_staging", makes_databases=True)
    return Server(postgres.url(), production, staging, database_of(other))


def _named(server: Server) -> dict[str, str]:
    return {
        "production": f'"{database_of(server.production)}"',
        "staging": f'"{database_of(server.staging)}"',
        "own": f'"{database_of(server.production)}"',
        "other": f'"{server.other}"',
    }


async def test_plain_roles_suffice(server: Server) -> None:
    assert await server.found() == ()


POWERS = [
    ("ALTER ROLE {production} SUPERUSER", "ALTER ROLE {production} NOSUPERUSER", "superuser"),
    ("ALTER ROLE {staging} SUPERUSER", "ALTER ROLE {staging} NOSUPERUSER", "superuser"),
    ("ALTER ROLE {production} CREATEROLE", "NOCREATEROLE", "make roles"),
    ("ALTER ROLE {staging} REPLICATION", "NOREPLICATION", "replicate"),
    *(
        (f"GRANT {power} TO {{{role}}}", f'REVOKE "{power}" FROM', f"a member of {power}")
        for power, role in zip(sorted(JUDGED), itertools.cycle(("production", "staging")), strict=False)
        if power.startswith("pg_")
    ),
    (
        "GRANT ALTER SYSTEM ON PARAMETER archive_command TO {production}",
        "REVOKE ALTER SYSTEM ON PARAMETER archive_command FROM {production}",
        "may set archive_command",
    ),
    ("GRANT CONNECT ON DATABASE {other} TO PUBLIC", "FROM PUBLIC", "may connect to database"),
    ("GRANT CONNECT ON DATABASE {other} TO {production}", "REVOKE CONNECT ON", "may connect to database"),
    ("GRANT CONNECT ON DATABASE {other} TO {staging}", "REVOKE CONNECT ON", "may connect to database"),
    ("ALTER DATABASE {other} OWNER TO {production}", "OWNER TO another", "may connect to database"),
    ("ALTER DATABASE {other} OWNER TO {staging}", "OWNER TO another", "may connect to database"),
    ("GRANT CONNECT ON DATABASE {own} TO {staging}", "REVOKE CONNECT ON", "production's database"),
    ("ALTER ROLE {staging} NOCREATEDB", "CREATEDB", "databases of Runs"),
    (
        "REVOKE SET ON PARAMETER session_replication_role FROM {staging}",
        "GRANT SET ON PARAMETER session_replication_role",
        "masked rows",
    ),
]


@pytest.mark.parametrize(("given", "cure", "said"), POWERS, ids=[power[0] for power in POWERS])
async def test_what_reaches_further_is_refused_with_its_cure(
    server: Server, given: str, cure: str, said: str
) -> None:
    names = _named(server)
    await server.execute(given.format(**names))
    found = await server.found()
    assert [finding for finding in found if said in finding.detail and cure.format(**names) in finding.cure]
    assert all(finding.subject.startswith("environments.") for finding in found)
    if "another" not in cure:
        for finding in found:
            await _follow(server, finding.cure)
        assert await server.found() == (), "the cure does not suffice"


async def _follow(server: Server, cure: str) -> None:
    """Type what the finding says, as the server's administrator would."""
    cure, _, connected = cure.partition("; and connected to ")
    cure = cure.removesuffix(" and the roles that it is in")
    statements = [one for one in cure.split("; ") if "the roles that use it" not in one]
    await server.execute(";".join(statements))
    if connected:
        database, _, sql = connected.partition(": ")
        await server.execute(sql, with_database(server.admin, database))


async def test_a_power_that_is_only_inherited_counts(server: Server) -> None:
    names = _named(server)
    async with session(server.admin) as connection:
        await connection.execute("DROP ROLE IF EXISTS scopes_group")
        await connection.execute("CREATE ROLE scopes_group SUPERUSER NOINHERIT")
        await connection.execute(f"GRANT scopes_group TO {names['production']}")
    try:
        (finding,) = await server.found()
        assert "member of scopes_group" in finding.detail
    finally:
        await server.execute("DROP ROLE scopes_group")


@pytest.fixture
async def groups(server: Server) -> AsyncIterator[None]:
    """Two roles that nobody logs in with."""
    names = _named(server)
    await server.execute("CREATE ROLE scopes_one NOINHERIT; CREATE ROLE scopes_two")
    yield
    await server.execute(f"ALTER DATABASE {names['other']} OWNER TO CURRENT_USER")
    await server.execute("DROP OWNED BY scopes_one, scopes_two; DROP ROLE scopes_one, scopes_two")


_ONLY = (
    "",
    " WITH ADMIN OPTION",
    " WITH INHERIT FALSE, SET FALSE, ADMIN TRUE",
    " WITH INHERIT FALSE, SET TRUE",
)


@pytest.mark.parametrize("how", _ONLY)
@pytest.mark.parametrize("power", ["pg_read_all_data", "pg_monitor"])
async def test_a_power_at_the_end_of_a_chain_counts(
    server: Server, groups: None, power: str, how: str
) -> None:
    """Whoever may only administer a membership gives himself the rest; the cure cuts the chain."""
    role = _named(server)["production"]
    await server.execute(
        f"GRANT {power} TO scopes_two; GRANT scopes_two TO scopes_one; GRANT scopes_one TO {role}{how}"
    )
    (finding,) = await server.found()
    assert f"is a member of scopes_one, and by that of {power}, which " in finding.detail
    assert finding.cure.startswith(f'REVOKE "scopes_one" FROM {role}; ')
    await _follow(server, finding.cure)
    assert await server.found() == ()


async def test_anothers_database_is_reached_by_becoming_its_role(server: Server, groups: None) -> None:
    """Not inherited, so the role itself has no right: SET ROLE gives it."""
    names = _named(server)
    await server.execute(
        f"GRANT CONNECT ON DATABASE {names['other']} TO scopes_one; GRANT scopes_one TO {names['staging']}"
    )
    (finding,) = await server.found()
    assert f"may connect to database {server.other}" in finding.detail
    await server.execute(f"REVOKE scopes_one FROM {names['staging']}")
    assert await server.found() == ()


async def test_an_owner_without_the_right_to_connect_counts(server: Server, groups: None) -> None:
    names = _named(server)
    await server.execute(
        f"ALTER DATABASE {names['other']} OWNER TO scopes_one; GRANT scopes_one TO {names['production']};"
        f" REVOKE ALL ON DATABASE {names['other']} FROM scopes_one, PUBLIC"
    )
    (finding,) = await server.found()
    assert finding.cure.startswith('REVOKE "scopes_one" FROM ')


@pytest.mark.parametrize("name", ["globex_run_0123456789ab", "run_0123456789ab", "x_run_0123456789ab_proof"])
async def test_a_database_that_is_only_named_like_a_runs_is_anothers(server: Server, name: str) -> None:
    """The name is its owner's choice: ours begins with the name of staging's own database."""
    staging = _named(server)["staging"]
    await server.execute(f"CREATE DATABASE {name} OWNER {staging}")
    try:
        await server.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        assert any(f"database {name}," in finding.detail for finding in await server.found())
    finally:
        await server.execute(f"DROP DATABASE {name}")


async def test_what_a_role_may_have(server: Server) -> None:
    """A backup of tables with forced row security needs BYPASSRLS, and it opens no other database."""
    for role in ("production", "staging"):
        await server.execute(f"ALTER ROLE {_named(server)[role]} BYPASSRLS CREATEDB")
    assert await server.found() == ()


async def test_the_founder_of_a_server_needs_another_role(server: Server) -> None:
    production = await production_role(server.admin)
    (finding,) = production.findings
    assert "is a superuser" in finding.detail
    assert "CREATE ROLE" in finding.cure
    assert "NOSUPERUSER" not in finding.cure, "the founder cannot lose that"


async def test_staging_in_productions_database_is_refused(server: Server) -> None:
    production = await production_role(server.production)
    url = with_database(server.staging, database_of(server.production))
    found = (await staging_role(url, production, masked=True)).findings
    assert any("names" in finding.detail and "production's database" in finding.detail for finding in found)


async def test_a_runs_database_is_its_owners_alone(server: Server) -> None:
    name = f"{database_of(server.staging)}_run_0123456789ab"
    await create_database(server.staging, name)
    try:
        assert await server.found() == (), "a Run's own database is no other's"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with session(with_database(server.production, name)):
                pass
        async with session(with_database(server.staging, name)) as connection:
            assert await connection.fetchval("SELECT 1") == 1
    finally:
        await drop_database(server.staging, name)
