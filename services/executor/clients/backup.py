"""PostgreSQL's own programs: dump a database, prove that the dump reads, bring it back."""

import errno
import os
import re
import shutil
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import unquote, urlsplit

from services.executor.clients.migration_table import FencingToken, locked
from services.executor.clients.postgres import quoted, server_version, session
from services.executor.clients.restore_plan import foreign_schemas, plan_restore
from services.executor.domain.program_words import finding_of_program
from shared.clients.database_urls import database_of, place, server_url
from shared.clients.libpq import UnusableUrl, addresses, program_variables, query_of
from shared.clients.processes import DeadlineExceeded, Finished, run_trusted
from shared.contracts.stages import Finding
from shared.crash_points import around
from shared.errors import Retry

BIN_FOLDER = "UPGRADES_POSTGRES_BIN"
_DEADLINE_S = 3600.0
_LOCK_TIMEOUT_S = 30
_NO_PASSWORDS = "/nonexistent"
"""libpq would look into the password file of this process's user."""
_SAID = re.compile(r"(pg_dump|pg_restore|psql)(\.exe)?:|(ERROR|FATAL|PANIC): +[0-9A-Z]{5}$")
_QUOTING = re.compile(r"\b(detail|hint|Command was|command was|Error message from server):")
_VALUE = re.compile(r': *+".*+')
# Where Debian and Red Hat keep each major version's programs.
_INSTALLED = ("/usr/lib/postgresql/{version}/bin", "/usr/pgsql-{version}/bin")
_SETTING = re.compile(r"SET (?P<name>\w+) = .*;\s*")


class ProgramFailed(Retry):
    """One of PostgreSQL's programs said no; `said` is what it said, without what may be a row's.

    `unread` where nobody read what it wrote to a pipe.
    """

    def __init__(self, message: str, said: str, *findings: Finding, unread: bool = False) -> None:
        super().__init__(message, *findings)
        self.said = said
        self.unread = unread


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

    @classmethod
    async def for_server(cls, url: str, environ: Mapping[str, str] = os.environ) -> "Programs":
        """Those of the server's own version where they are installed, or else those of `find`."""
        version = await server_version(url)
        for pattern in _INSTALLED:
            folder = Path(pattern.format(version=version))
            if (folder / "pg_dump").exists():
                return cls(folder)
        return cls.find(environ)

    async def dump(
        self,
        url: str,
        file: Path,
        snapshot: str | None = None,
        *,
        read_whole: bool = True,
        to_keep: bool = True,
    ) -> int:
        """Write the database as an archive to `file` and read it whole; the number of things in it.

        `snapshot` is one that a transaction exported and that is open. Our own schema stays out, as its fence
        must never go back, and so do those of the hosting. `read_whole` is for who does not restore it next;
        what is not `to_keep` is not compressed, which takes most of a dump's time.
        Raises Retry when it cannot be done now.
        """
        await self._must_fit(url)
        async with session(url) as connection:
            foreign = await foreign_schemas(connection)
        # Level 1 takes a third of the time of the usual 6, and a tenth more room. Every build can read it;
        # zstd and lz4 only some, and the one that restores may be another.
        level = 1 if to_keep else 0
        options = ["--format=custom", f"--compress={level}", "--exclude-schema=upgradepath", f"--file={file}"]
        options += [f"--exclude-schema={quoted(schema)}" for schema in foreign]
        options += [f"--snapshot={snapshot}"] if snapshot else []
        async with around("dump"):
            await self._run("pg_dump", *options, url=url)
        entries = [line for line in await self.listing(url, file) if not line.startswith(";")]
        if read_whole:
            # The list stands at the archive's beginning: only reading it to its end shows that it is whole.
            await self._run("pg_restore", "--file=/dev/null", str(file), url=url)
        return len(entries)

    async def restore(self, url: str, file: Path, token: FencingToken) -> None:
        """Put everything back as the archive has it, in one transaction; what was made since is gone.

        Owners and rights come back, so the role must be a member of the owners (`cannot_restore` says so).
        Raises Retry when it cannot be done now, Stale when a newer token passed the database's fence.
        """
        await self._must_fit(url)
        async with session(url) as connection:
            plan = await plan_restore(connection, await self.listing(url, file))
        scripts = [
            await self.script(url, file, name, lines)
            for name, lines in (("schemas", plan.schemas), ("rest", plan.rest))
        ]
        async with locked(url, token), around("restore"):
            await self.run_scripts(url, scripts, first=plan.clear)
        for script in scripts:
            script.unlink()

    async def run_scripts(self, url: str, scripts: Sequence[Path], first: Sequence[str] = ()) -> None:
        """Run the commands of `first`, then the scripts, all in one transaction. Raises ProgramFailed."""
        commands = [part for line in first for part in ("-c", line)]
        commands += [part for script in scripts for part in ("-f", str(script))]
        # Of errors psql says the line and the SQLSTATE alone: the server's words may quote a row.
        told = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=sqlstate", "--single-transaction")
        await self._run("psql", *told, *commands, url=url)

    async def print_schema(self, url: str, file: Path) -> None:
        """Write all that pg_dump prints but rows to `file`, without our schema and those of the hosting."""
        async with session(url) as connection:
            foreign = await foreign_schemas(connection)
        options = ["--schema-only", "--exclude-schema=upgradepath", "--no-subscriptions", f"--file={file}"]
        options += [f"--exclude-schema={quoted(schema)}" for schema in foreign]
        await self._run("pg_dump", *options, url=url)

    async def print_archive(self, url: str, file: Path, lines: Sequence[str]) -> Path:
        """The same of these entries of an archive: the script's path."""
        listing, script = file.with_suffix(".printed.list"), file.with_suffix(".printed.sql")
        listing.write_text("\n".join(lines) + "\n")
        options = ["--schema-only", "--no-subscriptions", f"--use-list={listing}", f"--file={script}"]
        await self._run("pg_restore", *options, str(file), url=url)
        return script

    async def version(self, url: str) -> str:
        """What pg_dump says of itself."""
        return (await self._run("pg_dump", "--version", url=url)).output.strip()

    async def script(self, url: str, file: Path, name: str, lines: Sequence[str]) -> Path:
        """These entries of the archive as a script that the server understands."""
        async with session(url) as connection:
            settings = {row[0] for row in await connection.fetch("SELECT name FROM pg_settings")}
        script = file.with_suffix(f".{name}.sql")
        await self.write_script(url, file, script, lines)
        _leave_out_settings(script, settings)
        return script

    async def write_script(self, url: str, file: Path, script: Path, lines: Sequence[str]) -> None:
        """Write these entries of the archive to `script`, a pipe perhaps, as they are."""
        listing = script.with_suffix(".list")
        listing.write_text("\n".join(lines) + "\n")
        # Through a script, as pg_restore --clean leaves what the archive does not know, and stumbles over it.
        # A subscription is another server's too: it goes on as it is.
        options = ["--no-subscriptions", f"--use-list={listing}", f"--file={script}", str(file)]
        await self._run("pg_restore", *options, url=url)

    async def are_of(self, url: str) -> bool:
        """They are of the server's own major version: whatever they write, it understands."""
        return self._major(await self.version(url)) == await server_version(url)

    async def listing(self, url: str, file: Path) -> list[str]:
        # Into a file: what a program prints is kept up to a bound, and here no line may be missing.
        listing = file.with_suffix(".list")
        await self._run("pg_restore", "--list", f"--file={listing}", str(file), url=url)
        return [line for line in listing.read_text().splitlines() if line]

    async def _must_fit(self, url: str) -> None:
        """pg_dump reads no server newer than itself."""
        printed = await self.version(url)
        server = await server_version(url)
        if self._major(printed) < server:
            raise Retry(
                f"{self.folder}/pg_dump is {printed}, but {place(url)} is PostgreSQL {server}:"
                f" set {BIN_FOLDER} to the bin folder of {server} or later"
            )

    @staticmethod
    def _major(printed: str) -> int:
        found = re.search(r"\d+", printed)
        return int(found[0]) if found else 0

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
            finding = finding_of_program(program, place(url), finished.output)
            message = f"{program} on {place(url)} ended with {finished.exit_code}: {said}"
            unread = finished.exit_code == -signal.SIGPIPE or os.strerror(errno.EPIPE) in said
            raise ProgramFailed(message, said, finding, unread=unread)
        return finished


def _leave_out_settings(script: Path, known: Collection[str]) -> None:
    """Make a comment of each setting in the script's beginning that the server does not have: newer programs
    name some.

    Their statements stand before everything else; the rest is the archive's and stays as it is.
    """
    with script.open("r+b") as file:
        while line := file.readline():
            text = line.decode(errors="replace")
            found = _SETTING.fullmatch(text)
            if found is not None and found["name"] not in known:
                end = file.tell()
                file.seek(end - len(line))
                # In place: a script may be as large as the database.
                file.write(b"--")
                file.seek(end)
            if found is None and text.startswith(("CREATE ", "ALTER ", "COPY ", "COMMENT ")):
                break


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
        "PGAPPNAME": query_of(url).get("application_name", "upgradepath"),
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
