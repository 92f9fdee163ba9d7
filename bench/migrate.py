"""Two hundred migrations applied by us, against psql and a bare connection that run the same files."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import asyncpg

from bench.result import Result, against
from local.postgres import EmbeddedPostgres
from services.executor.clients import migrations
from services.executor.clients.migration_files import Migration, read_migrations
from services.executor.clients.postgres import create_database, drop_database
from shared.sql.script import read_statements
from tests.migration_histories.synthetic import History

MIGRATIONS = 200
REPEATS = 3
_SEED = 7


async def measure() -> list[Result]:
    """Milliseconds for the whole history on an empty database that syncs to disk, the middle of three."""
    with (
        tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as name,
        EmbeddedPostgres(Path(name) / "postgres") as server,
    ):
        history = _history(Path(name))
        files = [Path(name) / "prisma/migrations" / each.folder / "migration.sql" for each in history]
        ways: dict[str, Callable[[str], Awaitable[object]]] = {
            "ours": lambda url: migrations.apply(url, history, (1, 1)),
            "psql": partial(_psql, server.bin_folder / "psql", files),
            "bare": partial(_bare, history),
        }
        took_ms: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(REPEATS):
            for way, run in ways.items():
                took_ms[way].append(await _timed_ms(server.url(), run))
    ours = median(took_ms["ours"])
    return [
        against(f"{len(history)} migrations, floor psql -f of all", ours, "ms", median(took_ms["psql"])),
        against(f"{len(history)} migrations, floor one query per file", ours, "ms", median(took_ms["bare"])),
    ]


def _history(folder: Path) -> tuple[Migration, ...]:
    """Written as files, as psql wants them."""
    *_, last = [each for each in History(_SEED).releases(MIGRATIONS) if each.stopped is None]
    texts = {f"prisma/migrations/{each.name}/migration.sql": each.sql.encode() for each in last.migrations}
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(text)
    return read_migrations(texts)


async def _timed_ms(server: str, run: Callable[[str], Awaitable[object]]) -> float:
    await create_database(server, "bench_migrate")
    try:
        began = time.perf_counter()
        await run(server.rpartition("/")[0] + "/bench_migrate")
        return (time.perf_counter() - began) * 1000
    finally:
        await drop_database(server, "bench_migrate")


async def _psql(psql: Path, files: Sequence[Path], url: str) -> None:
    # One process for all the files. It commits each statement; a dumped file would leave its settings behind.
    named = [word for file in files for word in ("-f", str(file), "-c", "RESET ALL")]
    options = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"]
    process = await asyncio.create_subprocess_exec(
        psql, *options, *named, url, stderr=asyncio.subprocess.PIPE, env={"PGCLIENTENCODING": "UTF8"}
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


async def _bare(history: Sequence[Migration], url: str) -> None:
    connection = await asyncpg.connect(url)
    for each in history:
        # asyncpg stumbles over a script of comments alone.
        if read_statements(each.sql):
            await connection.execute(each.sql)
            await connection.execute("RESET ALL")
    await connection.close()
