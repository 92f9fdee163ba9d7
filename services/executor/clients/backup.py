"""PostgreSQL's own programs: dump a database, prove that the dump reads, bring it back."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import unquote, urlsplit

from services.executor.clients.migration_table import FencingToken, locked
from services.executor.clients.postgres import quoted, server_version, session
from shared.clients.database_urls import database_of, place, server_url
from shared.clients.libpq import UnusableUrl, addresses, program_variables, query_of
from shared.clients.processes import DeadlineExceeded, Finished, run_trusted
from shared.crash_points import around
from shared.errors import Retry

BIN_FOLDER = "UPGRADES_POSTGRES_BIN"
_DEADLINE_S = 3600.0
_LOCK_TIMEOUT_S = 30
_NO_PASSWORDS = "/nonexistent"
"""libpq would look into the password file of this process's user."""
_SAID = re.compile(r"(pg_dump|pg_restore|psql)(\.exe)?:|(ERROR|FATAL|PANIC): +[0-9A-Z]{5}$")
_QUOTING = re.compile(r"\b(detail|hint|Command was|command was|Error message from server):")
_VALUE = re.compile(r': *".*$')
# What an archive makes and no schema takes along; event triggers first, as the rest of it would fire them.
_OUTSIDE_SCHEMAS = """
    WITH made AS (
        SELECT 1 AS place, 'pg_event_trigger'::regclass AS class, oid,
            format('EVENT TRIGGER %I', evtname) AS name FROM pg_event_trigger
        UNION ALL SELECT 2, 'pg_publication'::regclass, oid, format('PUBLICATION %I', pubname)
        FROM pg_publication
        UNION ALL SELECT 3, 'pg_foreign_server'::regclass, oid, format('SERVER %I CASCADE', srvname)
        FROM pg_foreign_server
        UNION ALL SELECT 4, 'pg_foreign_data_wrapper'::regclass, oid,
            format('FOREIGN DATA WRAPPER %I CASCADE', fdwname) FROM pg_foreign_data_wrapper
        UNION ALL SELECT 5, 'pg_cast'::regclass, oid,
            format('CAST (%s AS %s)', castsource::regtype, casttarget::regtype)
        FROM pg_cast WHERE oid >= 16384
    )
    SELECT 'DROP ' || name AS command, place FROM made WHERE NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.classid = made.class AND d.objid = made.oid AND d.deptype = 'e')
    UNION ALL SELECT 'SELECT count(lo_unlink(oid)) FROM pg_largeobject_metadata', 6
    WHERE EXISTS (SELECT FROM pg_largeobject_metadata)
    ORDER BY place, command
"""
_USER_SCHEMAS = """
    SELECT nspname FROM pg_namespace n
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'upgradepath')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass
        AND d.objid = n.oid AND d.deptype = 'e')
    ORDER BY nspname
"""


@dataclass(frozen=True)
class Programs:
    """The folder with pg_dump, pg_restore and psql: `UPGRADES_POSTGRES_BIN`, or wherever PATH has them."""

    folder: Path

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ) -> "Programs":
        """Raises Retry, with the cure, when there are none."""
        named = environ.get(BIN_FOLDER)
        found = shutil.which("pg_dump", path=named or environ.get("PATH"))
        if found is None:
            raise Retry(f"pg_dump is not in {named or 'PATH'}: set {BIN_FOLDER} to PostgreSQL's bin folder")
        return cls(Path(found).parent)

    async def dump(self, url: str, file: Path, snapshot: str | None = None) -> int:
        """Write the database as an archive to `file` and read it whole; the number of things in it.

        `snapshot` is one that a transaction exported and that is open. Our own schema stays out: its fence
        must never go back. Raises Retry when it cannot be done now.
        """
        await self._must_fit(url)
        options = ["--format=custom", "--exclude-schema=upgradepath", f"--file={file}"]
        options += [f"--snapshot={snapshot}"] if snapshot else []
        async with around("dump"):
            await self._run("pg_dump", *options, url=url)
        listed = await self._run("pg_restore", "--list", str(file), url=url)
        # The list stands at the archive's beginning: only reading it to its end shows that it is whole.
        await self._run("pg_restore", "--file=/dev/null", str(file), url=url)
        entries = [line for line in listed.output.splitlines() if line and not line.startswith(";")]
        return len(entries)

    async def restore(self, url: str, file: Path, token: FencingToken) -> None:
        """Put everything back as the archive has it, in one transaction; what was made since is gone.

        Raises Retry when it cannot be done now, Stale when a newer token passed the database's fence.
        """
        await self._must_fit(url)
        script = file.with_suffix(".sql")
        # Of errors psql says the line and the SQLSTATE alone: the server's words may quote a row.
        # Through a script, as pg_restore --clean leaves what the archive does not know, and stumbles over it.
        # A subscription is another server's too: it goes on as it is.
        options = ["--no-owner", "--no-subscriptions", f"--file={script}", str(file)]
        await self._run("pg_restore", *options, url=url)
        async with session(url) as connection:
            cleared = [row[0] for row in await connection.fetch(_OUTSIDE_SCHEMAS)]
            schemas = [row[0] for row in await connection.fetch(_USER_SCHEMAS)]
        cleared += [f"DROP SCHEMA {quoted(schema)} CASCADE" for schema in schemas]
        # The archive takes this one for granted, with the rights that PostgreSQL gives it.
        made = [
            "CREATE SCHEMA public AUTHORIZATION pg_database_owner",
            "GRANT USAGE ON SCHEMA public TO PUBLIC",
        ]
        commands = [part for line in (*cleared, *made) for part in ("-c", line)]
        settings = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=sqlstate", "--single-transaction")
        async with locked(url, token), around("restore"):
            await self._run("psql", *settings, *commands, "-f", str(script), url=url)
        script.unlink()

    async def _must_fit(self, url: str) -> None:
        """pg_dump reads no server newer than itself."""
        printed = (await self._run("pg_dump", "--version", url=url)).output
        numbers = re.search(r"(\d+)", printed)
        server = await server_version(url)
        if numbers is None or int(numbers[1]) < server:
            raise Retry(
                f"{self.folder}/pg_dump is {printed.strip()}, but {place(url)} is PostgreSQL {server}:"
                f" set {BIN_FOLDER} to the bin folder of {server} or later"
            )

    async def _run(self, program: str, *arguments: str, url: str) -> Finished:
        try:
            with connection_settings(url) as environment:
                finished = await run_trusted(
                    [str(self.folder / program), *arguments],
                    cwd=self.folder,
                    environment=environment,
                    deadline_s=_DEADLINE_S,
                )
        except DeadlineExceeded as error:
            raise Retry(f"{program} on {place(url)} did not end within {_DEADLINE_S:g} s") from error
        if finished.exit_code != 0:
            said = _without_rows(finished.output)
            raise Retry(f"{program} on {place(url)} ended with {finished.exit_code}: {said}")
        return finished


def _without_rows(output: str) -> str:
    """A program's own lines without those that quote rows, and without the value that a line ends in.

    A value may have lines of its own, so what does not begin as the program begins its lines is left out.
    """
    lines = output.strip().splitlines()
    kept = [line for line in lines if _SAID.match(line) and not _QUOTING.search(line)]
    said = "\n".join(_VALUE.sub(': "…"', line) for line in kept)
    return said or f"{len(lines)} lines that may quote rows; the server's own log has them"


def connection_variables(url: str) -> dict[str, str]:
    """The URL as libpq's variables: a password on a command line could be read by every user.

    Nothing that this process or its user has for other servers is among them. Raises Retry.
    """
    url = server_url(url)
    try:
        servers, asked = addresses(url), program_variables(url)
    except UnusableUrl as error:
        raise Retry(str(error)) from None
    parts = urlsplit(url)
    return {
        "PATH": os.defpath,
        "LC_ALL": "C",
        "PGHOST": ",".join(one.host for one in servers) or "localhost",
        "PGPORT": ",".join(str(one.port) for one in servers) or "5432",
        "PGDATABASE": database_of(url),
        "PGUSER": unquote(parts.username or "postgres"),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGPASSFILE": _NO_PASSWORDS,
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": "upgradepath",
        "PGOPTIONS": f"-c lock_timeout={_LOCK_TIMEOUT_S}s {query_of(url).get('options', '')}".strip(),
        **asked,
    }


@contextmanager
def connection_settings(url: str) -> Iterator[dict[str, str]]:
    """`connection_variables`, and the one parameter that libpq takes from no variable, for as long as needed.

    The password of a client's key goes by a service file that its owner alone may read.
    """
    variables = connection_variables(url)
    password = query_of(url).get("sslpassword")
    if password is None:
        yield variables
        return
    with NamedTemporaryFile("w", prefix="upgradepath-", suffix=".conf") as file:
        file.write(f"[upgradepath]\nsslpassword={password}\n")
        file.flush()
        yield {**variables, "PGSERVICEFILE": file.name, "PGSERVICE": "upgradepath"}
