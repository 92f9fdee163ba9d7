"""A Project's database and the migrations that are killed in it: none of them can run twice unnoticed."""

import hashlib

from services.executor.clients.migration_files import Migration

ROWS = 2_000


def _migration(folder: str, sql: str, down: str | None = None) -> Migration:
    return Migration(folder, sql, hashlib.sha256(sql.encode()).hexdigest(), down)


BASE = (
    _migration(
        "20260101000000_base",
        "CREATE TYPE mood AS ENUM ('low');\n"
        "CREATE TABLE people (id int PRIMARY KEY, visits int NOT NULL, email text NOT NULL, mood mood);\n"
        "CREATE TABLE orders (id int PRIMARY KEY, person int REFERENCES people (id), cents int NOT NULL);\n"
        "CREATE TABLE log (at int GENERATED ALWAYS AS IDENTITY, what text);\n"
        f"INSERT INTO people SELECT n, 0, 'p' || n, 'low' FROM generate_series(1, {ROWS}) n;\n"
        f"INSERT INTO orders SELECT n, n, 100 FROM generate_series(1, {ROWS}) n;\n",
    ),
)
# Every one moves a number, so that a second time would show.
GOOD = (
    _migration(
        "20260201000000_status",
        "ALTER TABLE people ADD COLUMN status text;\nUPDATE people SET status = 'new', visits = visits + 1;\n"
        "SELECT pg_sleep(0.1);\nINSERT INTO log (what) VALUES ('status');\n",
        "DELETE FROM log WHERE what = 'status';\nUPDATE people SET visits = visits - 1;\n"
        "SELECT pg_sleep(0.1);\n"
        "ALTER TABLE people DROP COLUMN status;\n",
    ),
    _migration(
        "20260201000001_by_email",
        "-- CreateIndex\nCREATE UNIQUE INDEX CONCURRENTLY people_email ON people (email);\n",
        "DROP INDEX CONCURRENTLY people_email;\n",
    ),
    _migration(
        "20260201000002_double",
        "DO $$ BEGIN UPDATE orders SET cents = cents * 2; PERFORM pg_sleep(0.1); END $$;\n",
        "UPDATE orders SET cents = cents / 2;\nSELECT pg_sleep(0.1);\n",
    ),
    _migration(
        "20260201000003_mood",
        "ALTER TABLE people ADD COLUMN feeling text;\nUPDATE people SET feeling = mood::text;\n"
        "ALTER TABLE people ALTER COLUMN feeling SET NOT NULL;\nSELECT pg_sleep(0.05);\n"
        "CREATE TABLE moods AS SELECT DISTINCT feeling FROM people;\n",
        "DROP TABLE moods;\nALTER TABLE people DROP COLUMN feeling;\n",
    ),
    _migration(
        "20260201000004_by_person",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_person ON orders (person);",
        "DROP INDEX CONCURRENTLY orders_person",
    ),
    _migration(
        "20260201000005_tidy",
        "VACUUM people",
        "SELECT pg_sleep(0.05)",
    ),
)
# It has no way back but a restore, so only histories that go on to their end have it.
PARTED = _migration(
    "20260201000006_parted",
    "BEGIN;\nUPDATE orders SET cents = cents + 1;\nSELECT pg_sleep(0.1);\nCOMMIT;\n"
    "ALTER TYPE mood ADD VALUE 'high';\nINSERT INTO log (what) VALUES ('high');\nSELECT pg_sleep(0.1);\n"
    "COMMIT;\n"
    "UPDATE people SET mood = 'high', visits = visits + 10;\nSELECT pg_sleep(0.1);\n",
)
BAD = _migration(
    "20260201000007_bad",
    "UPDATE people SET visits = visits + 1000;\nSELECT pg_sleep(0.1);\n"
    "ALTER TABLE orders ADD CONSTRAINT dear CHECK (cents > 200 OR id > 1);\n",
    "SELECT 1",
)
ONWARD = (*GOOD, PARTED)
BACK = (*GOOD, BAD)
