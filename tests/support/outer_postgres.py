"""A server that runs already: tests make databases on it, and leave it as they found it."""

import os
import subprocess
from urllib.parse import quote, urlsplit, urlunsplit

from local.postgres import postgres_bin_folder

URL = "UPGRADES_TEST_POSTGRES_URL"
"""A superuser's. Nobody else may use the server meanwhile: what appears on it is taken for the tests'."""
PLAIN = "UPGRADES_TEST_POSTGRES_PLAIN"
"""Set: each database's URL is that of a plain role which owns it; what needs more is marked `superuser`."""
_ROLES = "SELECT rolname FROM pg_roles"
_OF_ROLE = "SELECT datname FROM pg_database JOIN pg_roles r ON r.oid = datdba WHERE rolname = '{}'"


class OuterPostgres:
    """Tests get databases with the names that they choose, emptied first."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.bin_folder = postgres_bin_folder()

    def url(self, database: str = "postgres") -> str:
        parts = urlsplit(self._url)
        return urlunsplit(parts._replace(path=f"/{quote(database, safe='')}"))

    def create_database(self, name: str) -> None:
        """Makes the database anew: an earlier session may have left one of that name."""
        for statement in (
            f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)',
            f'CREATE DATABASE "{name}"',
            f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC',
        ):
            self._asked(statement)

    def roles(self) -> set[str]:
        """The server's roles."""
        return set(self._asked(_ROLES))

    def remove_roles(self, known: set[str]) -> None:
        """Drops all but the known ones, with their databases: another session would stumble over them."""
        for role in self.roles() - known:
            for database in self._asked(_OF_ROLE.format(role.replace("'", "''"))):
                self._asked(f'DROP DATABASE "{database}" WITH (FORCE)')
        # What is left is in databases that have no owner among them, or in none.
        for role in self.roles() - known:
            self._asked(f'DROP OWNED BY "{role}" CASCADE')
            self._asked(f'DROP ROLE "{role}"', check=False)

    def _asked(self, statement: str, *, check: bool = True) -> list[str]:
        done = subprocess.run(
            [
                self.bin_folder / "psql",
                "-X",
                "-q",
                "-At",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statement,
                self._url,
            ],
            capture_output=True,
            text=True,
            check=check,
        )
        return done.stdout.splitlines()


def named() -> OuterPostgres | None:
    """The one that the environment names."""
    url = os.environ.get(URL)
    return OuterPostgres(url) if url else None
