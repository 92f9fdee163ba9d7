"""Words that stand in production's rows alone, and a search for them in everything that exists besides.

A word is found as it is, in capitals, as hexadecimal digits and in base64 at any alignment, and in what Git
or gzip have compressed. What may hold it is left out by name: production's databases, and their backups.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import subprocess
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import asyncpg
import httpx

from shared.clients.database_urls import with_database
from shared.contracts.topics import SERVICES, TOPICS
from shared.messaging.topic_reader import read_topic
from tests.support.system import FiveProcesses

_GZIP = b"\x1f\x8b"
_PRODUCTION = "_production"


class Words:
    """The words that are looked for, in every form."""

    def __init__(self, words: Iterable[str]) -> None:
        self._forms = {word: _forms(word.encode()) for word in words}

    def among(self, text: bytes) -> list[str]:
        """Those that are in there."""
        if text.startswith(_GZIP):
            text = gzip.decompress(text)
        lower = text.lower()
        return [
            word
            for word, (plain, encoded) in self._forms.items()
            if any(form in lower for form in plain) or any(form in text for form in encoded)
        ]


def _forms(word: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    encoded = []
    for shift in range(3):
        # The first and last characters are made of neighbours' bits as well.
        text = base64.b64encode(b"\0" * shift + word)
        first = -(-shift * 8 // 6)
        encoded.append(text[first : (shift + len(word)) * 8 // 6])
    return (word.lower(), word.hex().encode()), tuple(encoded)


class Collector:
    """Takes traces, as an OTLP collector does, and keeps the bytes."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.endpoint = ""

    @contextmanager
    def listening(self) -> Iterator[Collector]:
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                """Nobody reads it."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class Search:
    """Looks through everything that a system has, but for production itself."""

    def __init__(
        self,
        system: FiveProcesses,
        words: Words,
        *,
        traces: Collector,
        repositories: Sequence[Path],
        bin_folder: Path,
    ) -> None:
        self._system = system
        self._words = words
        self._traces = traces
        self._repositories = repositories
        self._bin = bin_folder

    async def findings(self) -> dict[str, list[str]]:
        """Each place with words in it, and the words. Every place is looked at."""
        found: dict[str, list[str]] = {}
        async for place, text in self._texts():
            if words := await asyncio.to_thread(self._words.among, text):
                found[place] = sorted({*found.get(place, ()), *words})
        return found

    async def _texts(self) -> AsyncIterator[tuple[str, bytes]]:
        for database in await self._databases():
            yield f"database {database}", await self._dumped(database)
        for topic in TOPICS:
            async for record in read_topic(self._system.kafka, topic):
                headers = [part for name, value in record.headers for part in (name.encode(), value or b"")]
                yield f"topic {topic.name}", b"\n".join((record.key or b"", record.value or b"", *headers))
                # Each alone as well: one of them may be compressed.
                yield f"topic {topic.name}", record.value or b""
        folder = self._system.world.folder
        backups = await self._backups()
        for path in _files(folder):
            place = path.relative_to(folder)
            # The partner's own: its hosting of production, what it is told to say, its Git server's hooks.
            theirs = place.parts[1:2] == ("hosting",) and place.parts[2:3] in (("production",), ("said",))
            if theirs or place.parts[2:3] == ("hooks",) or path.name in backups:
                continue
            yield f"file {place}", path.read_bytes()
        for repository in (*self._repositories, *_repositories(folder / "work")):
            yield f"objects of {repository.relative_to(folder)}", await _objects(repository)
        async with httpx.AsyncClient(trust_env=False) as client:
            for name in SERVICES:
                yield (
                    f"metrics of {name}",
                    (await client.get(f"{self._system.address(name)}/metrics")).content,
                )
        for body in self._traces.bodies:
            yield "traces", body

    async def _databases(self) -> list[str]:
        connection = await asyncpg.connect(self._system.postgres_url)
        try:
            names = await connection.fetch(
                "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1"
            )
        finally:
            await connection.close()
        return [row[0] for row in names if not row[0].endswith(_PRODUCTION)]

    async def _dumped(self, database: str) -> bytes:
        url = with_database(self._system.postgres_url, database)
        return await _said(self._bin / "pg_dump", "--inserts", f"--dbname={url}")

    async def _backups(self) -> set[str]:
        connection = await asyncpg.connect(self._system.databases["executor"])
        try:
            rows = await connection.fetch("SELECT DISTINCT detail FROM effects WHERE name = 'backup'")
        finally:
            await connection.close()
        return {row[0] for row in rows}


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]


def _repositories(folder: Path) -> list[Path]:
    return [path.parent for path in folder.rglob("HEAD") if (path.parent / "objects").is_dir()]


async def _objects(repository: Path) -> bytes:
    """Every object that is there, also one that nothing refers to."""
    return await _said("git", f"--git-dir={repository}", "cat-file", "--batch", "--batch-all-objects")


async def _said(*command: str | Path) -> bytes:
    done = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    return done.stdout


class Programs:
    """PostgreSQL's programs in a folder of their own, of which each can be told to fail and quote a row."""

    def __init__(self, folder: Path, bin_folder: Path, said: Mapping[str, str]) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for program in ("pg_dump", "pg_restore", "psql"):
            script = folder / program
            script.write_text(
                "#!/bin/sh\n"
                f'[ "$1" != --version ] && [ -e "$0.angry" ] && {{ cat "$0.said" >&2; exit 3; }}\n'
                f'exec {bin_folder}/{program} "$@"\n'
            )
            script.chmod(0o755)
            (folder / f"{program}.said").write_text(said[program])

    def anger(self, program: str) -> None:
        (self.folder / f"{program}.angry").touch()

    def calm(self) -> None:
        for path in self.folder.glob("*.angry"):
            path.unlink()
