"""Releases of auth-system whose migrations take their time, and none of which can run twice unnoticed.

1.4.0 comes to its end everywhere; 1.5.0 has one migration more, which fails in production alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from local import example

ROWS = 20_000
ONWARD, FAILS = "1.4.0", "1.5.0"
_SYSTEM, _BEFORE = example.NEW_RELEASE
# Every script moves a number by another step, up and down, so that a second time would show.
_NEW: dict[str, tuple[str, str]] = {
    "20260401000000_visits": (
        'ALTER TABLE "users" ADD COLUMN "visits" INTEGER NOT NULL DEFAULT 0;\n'
        'UPDATE "users" SET "visits" = "visits" + 1;\nSELECT pg_sleep(0.1);\n'
        'UPDATE "sessions" SET "expires_at" = "expires_at" + interval \'1 minute\';\n',
        'UPDATE "sessions" SET "expires_at" = "expires_at" - interval \'1 minute\';\n'
        'SELECT pg_sleep(0.1);\nALTER TABLE "users" DROP COLUMN "visits";\n',
    ),
    "20260401000100_sessions_by_end": (
        '-- CreateIndex\nCREATE INDEX CONCURRENTLY "sessions_expires_at_idx" ON "sessions"("expires_at");\n',
        'DROP INDEX CONCURRENTLY "sessions_expires_at_idx";\n',
    ),
    "20260401000200_an_hour_more": (
        'DO $$ BEGIN UPDATE "sessions" SET "expires_at" = "expires_at" + interval \'1 hour\';'
        ' UPDATE "users" SET "visits" = "visits" * 3; PERFORM pg_sleep(0.1); END $$;\n',
        'UPDATE "sessions" SET "expires_at" = "expires_at" - interval \'1 hour\';\n'
        'UPDATE "users" SET "visits" = "visits" / 3;\nSELECT pg_sleep(0.1);\n',
    ),
    "20260401000300_one_of_each": (
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS"
        ' "sessions_user_id_token_key" ON "sessions"("user_id", "token")',
        'DROP INDEX CONCURRENTLY "sessions_user_id_token_key"',
    ),
    "20260401000400_parted": (
        'BEGIN;\nUPDATE "users" SET "visits" = "visits" + 10;\nSELECT pg_sleep(0.1);\nCOMMIT;\n'
        'UPDATE "sessions" SET "expires_at" = "expires_at" + interval \'1 day\';\nSELECT pg_sleep(0.1);\n'
        'COMMIT;\nUPDATE "users" SET "visits" = "visits" * 2;\nSELECT pg_sleep(0.1);\n',
        'UPDATE "sessions" SET "expires_at" = "expires_at" - interval \'1 day\';\n'
        'UPDATE "users" SET "visits" = "visits" / 2 - 10;\nSELECT pg_sleep(0.1);\n',
    ),
    "20260401000500_counted": (
        'UPDATE "users" SET "visits" = "visits" + 100;\nSELECT pg_sleep(0.2);\n',
        'UPDATE "users" SET "visits" = "visits" - 100;\nSELECT pg_sleep(0.1);\n',
    ),
}
_CONTRACTING = "20260401000500_counted"
_BAD = "20260501000000_not_here"
_FAILING = (
    'UPDATE "users" SET "visits" = "visits" + 1000;\nSELECT pg_sleep(0.1);\n'
    "DO $$ BEGIN IF current_database() LIKE '%\\_production'"
    " THEN RAISE EXCEPTION 'not here'; END IF; END $$;\n",
    'UPDATE "users" SET "visits" = "visits" - 1000;\n',
)
VISITS = {ONWARD: ((0 + 1) * 3 + 10) * 2 + 100, FAILS: ((0 + 1) * 3 + 10) * 2 + 100 + 1000}
LASTS = "1 day 1 hour 46 minutes"
"""From a session's beginning to its end, once it has been upgraded."""
MORE_ROWS = f"""
    INSERT INTO "sessions" ("token", "user_id", "created_at", "expires_at")
    SELECT md5('more ' || n), 1 + n % 200, timestamp '2026-02-27 08:00:00', timestamp '2026-02-27 08:45:00'
    FROM generate_series(1, {ROWS}) n;
    -- The only rows that are dated by the clock.
    UPDATE "invitations" SET "created_at" = '2026-02-27', "expires_at" = '2026-03-27';
"""


def scripts(version: str) -> dict[str, str]:
    """Name to script of what the release brings to a Project that pins the first one, as they run."""
    package = example.package_folder(_SYSTEM, _BEFORE) / "prisma" / "migrations"
    old = example.package_folder(_SYSTEM, dict(example.FIRST_RELEASES)[_SYSTEM]) / "prisma" / "migrations"
    names = sorted({path.name for path in package.iterdir()} - {path.name for path in old.iterdir()})
    found = {name: (package / name / "migration.sql").read_text() for name in names}
    return found | {name: up for name, (up, _) in _brought_by(version).items()}


def make(version: str, folder: Path) -> Path:
    """The unpacked package in `folder`; its own folder."""
    made = folder / f"{_SYSTEM}-{version}"
    shutil.copytree(example.package_folder(_SYSTEM, _BEFORE), made)
    manifest = made / "system.toml"
    manifest.write_text(
        manifest.read_text()
        .replace(f'version = "{_BEFORE}"', f'version = "{version}"')
        .replace("contract = [", f'contract = ["{_CONTRACTING}", ')
    )
    headings = "".join(f"## {each}\n- Visits are counted.\n\n" for each in (FAILS, ONWARD) if each <= version)
    for name in ("CHANGELOG.md", "MIGRATION.md"):
        title, heading, rest = (made / name).read_text().partition("## ")
        (made / name).write_text(f"{title}{headings}{heading}{rest}")
    schema = made / "prisma" / "schema.prisma"
    schema.write_text(
        schema.read_text()
        .replace(
            "  sessions     Session[]\n",
            "  visits       Int            @default(0)\n  sessions     Session[]\n",
        )
        .replace(
            '  @@index([userId])\n  @@map("sessions")\n',
            '  @@unique([userId, token])\n  @@index([userId])\n  @@index([expiresAt])\n  @@map("sessions")\n',
        )
    )
    for name, (up, down) in _brought_by(version).items():
        migration = made / "prisma" / "migrations" / name
        migration.mkdir()
        (migration / "migration.sql").write_text(up)
        (migration / "down.sql").write_text(down)
    return made


def _brought_by(version: str) -> dict[str, tuple[str, str]]:
    return _NEW | ({_BAD: _FAILING} if version == FAILS else {})
