"""Production's rows with words of their own, and releases whose migrations stumble over them in every way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from local import example
from tests.support.portal import next_version

KINDS = (
    *("key", "unique", "text", "name", "email", "varchar", "json", "jsonb", "list", "bytes"),
    *("useremail", "username", "userhash"),
)
WORDS = {kind: f"kanarie{kind}4711" for kind in KINDS}
UP, DOWN = "canary.up", "canary.down"
_MODEL = """
model Canary {
  /// @mask hash
  id    String   @id
  /// @mask hash
  word  String   @unique
  /// @mask hash
  kind  String
  /// @mask name
  name  String
  /// @mask email
  email String
  /// @mask name
  short String   @db.VarChar(120)
  /// @mask json
  note  Json     @db.Json
  /// @mask json
  doc   Json
  /// @mask hash
  words String[]
  /// @mask hash
  bytes Bytes

  @@map("canaries")
}
"""
_TABLE = """
CREATE TABLE "canaries" (
    "id" TEXT NOT NULL, "word" TEXT NOT NULL, "kind" TEXT NOT NULL, "name" TEXT NOT NULL,
    "email" TEXT NOT NULL, "short" VARCHAR(120) NOT NULL, "note" JSON NOT NULL, "doc" JSONB NOT NULL,
    "words" TEXT[],
    "bytes" BYTEA NOT NULL, CONSTRAINT "canaries_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "canaries_word_key" ON "canaries"("word");
"""
ONLY_OURS = 'ALTER TABLE "canaries" ADD CONSTRAINT "ours" CHECK ("email" LIKE \'%@harbour.example\');\n'
ROWS = f"""
INSERT INTO canaries SELECT
    '{WORDS["key"]}-' || n, '{WORDS["unique"]}-' || n, '{WORDS["text"]}',
    E'{WORDS["name"]} O''Brien "the\\n%s %% {WORDS["name"]}" \\\\ {{',
    '{WORDS["email"]}-' || n || '@harbour.example', '{WORDS["varchar"]}',
    json_build_object('a', json_build_array('{WORDS["json"]}')),
    jsonb_build_object('b', '{WORDS["jsonb"]}'), ARRAY['{WORDS["list"]}', E'{WORDS["list"]}\\n"'],
    convert_to('{WORDS["bytes"]}', 'UTF8')
FROM generate_series(1, 2) n;
INSERT INTO users (email, name, password_hash) VALUES
    ('{WORDS["useremail"]}@harbour.example', E'{WORDS["username"]}\\n"%', '{WORDS["userhash"]}');
"""
# How a script stumbles over rows, as PL/pgSQL; `row` is one of them. What a deploy would find out beforehand,
# and refuse, is put together as it runs.
WAYS: Mapping[str, str] = {
    "unique": "EXECUTE format('CREATE %s INDEX one_kind ON canaries (kind)', 'UNIQUE')",
    "not null": "EXECUTE format('UPDATE canaries SET kind = %s', 'NULL')",
    "check": "ALTER TABLE canaries ADD CONSTRAINT small CHECK (length(name) < 3) NOT VALID;"
    " UPDATE canaries SET email = email",
    "foreign key": "EXECUTE format('ALTER TABLE canaries ADD %s (kind) REFERENCES canaries (word)',"
    " 'FOREIGN KEY')",
    "cast": "EXECUTE format('ALTER TABLE canaries ALTER name TYPE %s USING name::int', 'int')",
    "json": "PERFORM name::json FROM canaries",
    "list": "PERFORM ('{' || name)::text[] FROM canaries",
    "bytes": "PERFORM convert_from(bytes, 'UTF8')::int FROM canaries",
    "made name": "EXECUTE 'SELECT ' || quote_ident(row.name)",
    "looked up": "PERFORM quote_ident(name)::regclass FROM canaries",
    "raised": "RAISE EXCEPTION 'of %', row.name USING DETAIL = row.name, HINT = row.email,"
    " COLUMN = row.kind, CONSTRAINT = row.word, TABLE = row.id, SCHEMA = row.short",
    "noticed": "RAISE NOTICE 'of %', row; RAISE WARNING 'of %', row; RAISE LOG 'of %', row; PERFORM 1 / 0",
    "trigger": "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
    " $f$ BEGIN RAISE NOTICE 'of %', NEW; RAISE EXCEPTION 'of %', NEW USING DETAIL = NEW::text; END $f$;"
    " CREATE TRIGGER shout BEFORE UPDATE ON canaries FOR EACH ROW EXECUTE FUNCTION shout();"
    " UPDATE canaries SET email = email",
}
SAID = "said: "
"""How a line of production's log begins that production's health repeats, and fails."""
_SPOKEN = f"""
import os as _os

_said = [line for line in provider.ask("logs", {{}})["stdout"].splitlines() if line.startswith({SAID!r})]
if _os.environ["UPGRADEPATH_ENVIRONMENT"] == "production" and _said:
    print(_said)
    raise SystemExit(str(_said))
"""
_ROWS_OF_STAGING = """
import asyncio, os, socket, sys, asyncpg
from urllib.parse import urlsplit

async def main():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    address = urlsplit(os.environ["UPGRADEPATH_ADDRESS"])
    for table in ("canaries", "users"):
        for row in await connection.fetch(f"select * from {table}"):
            for file in (sys.stdout, sys.stderr):
                print("row:", tuple(row), file=file)
            # The app logs each request as it was asked.
            path = "/row-" + "_".join("".join(map(str, row)).split())
            with socket.create_connection((address.hostname, address.port)) as app:
                app.sendall(f"GET {path} HTTP/1.0\\r\\n\\r\\n".encode())
                app.recv(1)
    print(dict(os.environ))

asyncio.run(main())
sys.exit(1)
"""
_FAILING_CHECKS = """
[checks.validate.prints-rows]
kind = "command"
run = ["python", "tests/print_rows.py"]

[checks.validate.several-rows]
kind = "sql"
query = "select name from canaries"
expect = "nobody"

[checks.validate.one-row]
kind = "sql"
query = "select c::text from canaries c limit 1"
expect = "nobody"

[checks.validate.stumbles]
kind = "sql"
query = "select name::int from canaries limit 1"
expect = "0"

[checks.validate.a-page]
kind = "http"
path = "/signin"
contains = "nobody has this"

[checks.validate.rows-in-the-log]
kind = "log"
absent = ["row-"]
"""


def edits(*, only_ours: bool = False, failing_checks: bool = False) -> dict[str, str]:
    """The example's Project with a table of canaries, as an edit of its repository."""
    project = example.EXAMPLES / "project"
    health = (project / "hosting" / "health.py").read_text()
    made = {
        "prisma/schema/main.prisma": (project / "prisma/schema/main.prisma").read_text() + _MODEL,
        "prisma/migrations/20250715000000_canaries/migration.sql": _TABLE + (ONLY_OURS if only_ours else ""),
        "hosting/health.py": health.replace("import provider\n", f"import provider\n{_SPOKEN}", 1),
    }
    if failing_checks:
        text = (project / "upgradepath.toml").read_text()
        made["upgradepath.toml"] = text + _FAILING_CHECKS
        made["tests/print_rows.py"] = _ROWS_OF_STAGING
    return made


def stumbling(folder: Path) -> Path:
    """auth-system 1.4.0: it stumbles, up or down, as a database's own settings say, and nowhere else."""
    made = next_version(*example.NEW_RELEASE, "1.4.0", folder, "Nothing else")
    _add(made, "20260401000000_first", "SELECT 1;\n", _stumble(DOWN))
    _add(made, "20260401000100_second", _stumble(UP), "SELECT 1;\n")
    return made


def plainly_failing(folder: Path) -> Path:
    """onboarding-system 0.6.0: whoever asks the rows sees that it cannot run."""
    made = next_version("onboarding-system", "0.5.4", "0.6.0", folder, "Nothing else")
    _add(
        made,
        "20260501000000_strict",
        f"ALTER TABLE users ADD CONSTRAINT shy CHECK (name NOT LIKE '{WORDS['username'][:7]}%');\n"
        "CREATE UNIQUE INDEX users_hash_key ON users (password_hash);\n",
        "DROP INDEX users_hash_key; ALTER TABLE users DROP CONSTRAINT shy;\n",
    )
    return made


def without_way_back(folder: Path) -> Path:
    """quote-engine 0.10.0, which overwrites what no statement brings back."""
    made = next_version("quote-engine", "0.9.1", "0.10.0", folder, "Products in capitals")
    _add(made, "20260401090000_capitals", "UPDATE quotes SET product = upper(product);\n", None)
    return made


def _add(package: Path, name: str, up: str, down: str | None) -> None:
    migration = package / "prisma" / "migrations" / name
    migration.mkdir()
    (migration / "migration.sql").write_text(up)
    if down is not None:
        (migration / "down.sql").write_text(down)


def _stumble(setting: str) -> str:
    branches = "".join(f"    IF way = '{way}' THEN {body}; END IF;\n" for way, body in WAYS.items())
    return (
        f"DO $$\nDECLARE way text := current_setting('{setting}', true); row record;\nBEGIN\n"
        "    IF way IS NULL OR way = '' THEN RETURN; END IF;\n"
        f"    SELECT * INTO row FROM canaries LIMIT 1;\n{branches}END\n$$;\n"
    )
