"""A backup that is tried: dumped, restored and compared, against a dump and a restore alone."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from bench.result import Result, repeated
from bench.staging import fill, size_gb
from local.postgres import EmbeddedPostgres
from services.executor.clients.postgres import create_database, drop_database, session
from services.executor.clients.restore_drill import backed_up, drill

ROWS = 400_000
"""Rows of production, 0.2 GB; two million are 1 GB."""


async def measure(rows: int = ROWS, repeats: int = 2) -> list[Result]:
    """Seconds; the floors are of the same rows in the same run.

    Raises RuntimeError where the backup does not come back.
    """
    with (
        tempfile.TemporaryDirectory(prefix="upgradepath-bench-") as name,
        EmbeddedPostgres(Path(name) / "postgres") as postgres,
    ):
        # Those of this server's version: PATH may have older ones first.
        os.environ["UPGRADES_POSTGRES_BIN"] = str(postgres.bin_folder)
        await create_database(postgres.url(), "production")
        await fill(postgres.url("production"), rows)
        size = Result("restore: size of production", await size_gb(postgres.url("production")), "GB")
        files, pipes, tries = [], [], []
        for _ in range(repeats):
            files.append(await _floor(postgres, partial(_through_a_file, postgres, Path(name))))
            pipes.append(await _floor(postgres, partial(_piped, postgres)))
            tries.append(await _tried(postgres, Path(name)))
        return [
            size,
            repeated("restore: backup tried, floor by a file", tries, "s", median(files)),
            repeated("restore: backup tried, floor by a pipe", tries, "s", median(pipes)),
        ]


async def _tried(postgres: EmbeddedPostgres, folder: Path) -> float:
    await _checkpoint(postgres)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        url = postgres.url("production")
        tried = await drill(url, await backed_up(url, Path(name) / "production.dump", to_keep=False))
    took_s = time.perf_counter() - began
    if tried.findings:
        raise RuntimeError(f"the backup does not come back: {tried.findings}")
    return took_s


async def _floor(postgres: EmbeddedPostgres, work: Callable[[], None]) -> float:
    await create_database(postgres.url(), "copy")
    await _checkpoint(postgres)
    began = time.perf_counter()
    work()
    took_s = time.perf_counter() - began
    await drop_database(postgres.url(), "copy")
    return took_s


async def _checkpoint(postgres: EmbeddedPostgres) -> None:
    # What an earlier method left to be written down is not this one's cost.
    async with session(postgres.url(), statement_timeout_s=0) as connection:
        await connection.execute("CHECKPOINT")


def _through_a_file(postgres: EmbeddedPostgres, folder: Path) -> None:
    """As anybody keeps a backup: an archive on the disk, and a restore of it."""
    file = str(folder / "plain.dump")
    bin_folder = postgres.bin_folder
    subprocess.run([bin_folder / "pg_dump", "-Fc", f"--file={file}", postgres.url("production")], check=True)
    subprocess.run([bin_folder / "pg_restore", "-d", postgres.url("copy"), file], check=True)


def _piped(postgres: EmbeddedPostgres) -> None:
    dump = [str(postgres.bin_folder / "pg_dump"), "-Fc", postgres.url("production")]
    restore = [str(postgres.bin_folder / "pg_restore"), "-d", postgres.url("copy")]
    with subprocess.Popen(dump, stdout=subprocess.PIPE) as reading:
        subprocess.run(restore, stdin=reading.stdout, check=True)
    if reading.returncode != 0:
        raise RuntimeError(f"pg_dump ended with {reading.returncode}")
