"""What a plan asks of the rows that exist, on 2.5 million of them, against plain counts of the same rows."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.result import Result, against
from local.postgres import EmbeddedPostgres
from services.executor.clients.postgres import create_database, session
from services.executor.clients.probes import ask
from shared.sql.script import read_statements

ROWS = 2_500_000
_TABLES = f"""
    CREATE TABLE teams (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO teams SELECT n, 'team ' || n FROM generate_series(1, 10000) n;
    CREATE TABLE users (id int PRIMARY KEY, email text, name text, team int, age text);
    INSERT INTO users SELECT n, CASE WHEN n % 1000 > 0 THEN 'user' || n || '@x.example' END, 'User ' || n,
        n % 10000 + 1, (n % 90)::text FROM generate_series(1, {ROWS}) n;
    ANALYZE;
"""
_UPGRADE = """
    ALTER TABLE users ADD COLUMN status text;
    UPDATE users SET status = CASE WHEN email IS NULL THEN 'guest' ELSE 'member' END;
    ALTER TABLE users ALTER COLUMN status SET NOT NULL;
    ALTER TABLE users ALTER COLUMN email SET NOT NULL;
    CREATE UNIQUE INDEX users_email_key ON users (email);
    ALTER TABLE users ADD FOREIGN KEY (team) REFERENCES teams (id);
    ALTER TABLE users ALTER COLUMN age TYPE int USING age::int;
    ALTER TABLE users ADD CHECK (length(name) < 80);
    ALTER TABLE users DROP COLUMN name;
"""


async def measure() -> list[Result]:
    """Seconds for all questions of nine statements, and for as many counts of the table."""
    with (
        TemporaryDirectory(prefix="upgradepath-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", fsync=False) as server,
    ):
        await create_database(server.url(), "probed")
        url = server.url("probed")
        async with session(url) as connection:
            await connection.execute(_TABLES)
            await connection.execute("VACUUM users")
        statements = read_statements(_UPGRADE)
        started = time.perf_counter()
        answers = await ask(url, statements)
        asked_s = time.perf_counter() - started
        probes = [probe for found in answers.probes for probe in found]
        started = time.perf_counter()
        async with session(url) as connection:
            for _ in probes:
                # Not fetchval, which asks for one row alone and so gets no parallel workers.
                await connection.fetch("SELECT count(email) FROM users")
        floor_s = time.perf_counter() - started
        known = sum(probe.verdict != "unknown" for probe in probes)
        return [
            against(f"plan: {len(probes)} questions of {ROWS:,} rows", asked_s, "s", floor_s),
            Result("plan: questions answered", known, f"of {len(probes)}"),
        ]


if __name__ == "__main__":
    import asyncio

    for result in asyncio.run(measure()):
        print(result)
