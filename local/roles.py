"""Database roles as a Project should have them: one for each environment, with the rights that suffice."""

from secrets import token_hex
from urllib.parse import quote, urlsplit, urlunsplit

from services.executor.clients.postgres import literal, quoted, session
from services.executor.clients.role_powers import PARAMETER_RIGHTS_FROM
from shared.clients.database_urls import database_of


async def plain_role(database_url: str, *, makes_databases: bool = False) -> str:
    """Give the database an owner of its own name, who reaches nothing else there; the URL with that role.

    `database_url` is a superuser's. `makes_databases` is for staging, as in `new_role`.
    """
    role = quoted(database_of(database_url))
    url = await new_role(database_url, database_of(database_url), makes_databases=makes_databases)
    async with session(database_url) as connection:
        await connection.execute(f"ALTER DATABASE {role} OWNER TO {role}")
        await connection.execute(f"REVOKE CONNECT ON DATABASE {role} FROM PUBLIC")
    return url


async def new_role(server_url: str, name: str, *, makes_databases: bool) -> str:
    """A role with a new password on that server; the URL with it and a database of its name.

    It may make databases: production's for the trial of a backup. With `makes_databases` it is fit for
    staging: it makes one for each Run, and loads masked rows without firing triggers.
    """
    role, password = quoted(name), token_hex(16)
    rights = "NOSUPERUSER NOCREATEROLE NOREPLICATION CREATEDB"
    async with session(server_url) as connection:
        known = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name)
        verb = "ALTER" if known else "CREATE"
        await connection.execute(f"{verb} ROLE {role} LOGIN {rights} PASSWORD {literal(password)}")
        # Before PostgreSQL 15 there is no such right, and a copy does without.
        if makes_databases and connection.get_server_version().major >= PARAMETER_RIGHTS_FROM:
            await connection.execute(f"GRANT SET ON PARAMETER session_replication_role TO {role}")
    parts, word = urlsplit(server_url), quote(name, safe="")
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{word}:{password}@{place}", path=f"/{word}"))
