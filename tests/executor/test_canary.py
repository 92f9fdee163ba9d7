"""Whatever goes wrong with production's rows, nothing that leaves a stage quotes one of them."""

import logging
import os
from collections.abc import Awaitable
from pathlib import Path
from textwrap import dedent

import pytest

from local.postgres import postgres_bin_folder
from services.executor.clients import migrations
from services.executor.clients.backup import Programs
from services.executor.clients.migration_files import read_migrations
from services.executor.clients.postgres import session
from services.executor.clients.reverting import revert
from services.executor.stages import deploy, prepare, roll_back
from shared.contracts.stages import Errored, Outcome
from shared.errors import Failure
from shared.jobs.redaction import without_secrets
from tests.conftest import PostgresServer
from tests.executor.conftest import NewDatabase
from tests.executor.project_world import World, make_world, proven

CANARY = "canary-4711"
_INIT = "CREATE TABLE users (id int, email text)"
_ROWS = f"INSERT INTO users SELECT n, '{CANARY}' || E'\\n{CANARY}' FROM generate_series(1, 2) n"
_OF_PRODUCTION = f"""
import os, sys
if os.environ["UPGRADEPATH_ENVIRONMENT"] == "production":
    print("{CANARY} called")
    sys.exit("{CANARY} is angry")
"""


async def told(work: Awaitable[object], logged: pytest.LogCaptureFixture) -> str:
    """Everything that a worker sends and logs of work that does not succeed."""
    try:
        await work
    except Failure as failure:
        outcome: Outcome = failure.outcome
    except Exception as error:
        outcome = Errored(reason=f"{type(error).__name__}: {error}")
        logging.getLogger("worker").warning("errored", exc_info=error)
    else:
        pytest.fail("it succeeded")
    return without_secrets(outcome, str).model_dump_json() + logged.text


async def kept_in(url: str) -> str:
    """What stayed in a database about its own rows."""
    async with session(url) as connection:
        return "\n".join(row[0] for row in await connection.fetch("SELECT logs FROM upgradepath.failure"))


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("CREATE UNIQUE INDEX one ON users (email)", "could not create unique index"),
        ("ALTER TABLE users ADD CONSTRAINT small CHECK (email NOT LIKE 'canary%')", "small"),
        ("ALTER TABLE users ALTER email TYPE int USING email::int", "22P02"),
        ("ALTER TABLE users ALTER email TYPE varchar(5)", "22001"),
        ("ALTER TABLE users ALTER email TYPE regclass USING quote_ident(email)::regclass", "42P01"),
        ("DO $$ BEGIN PERFORM email::json FROM users; END $$", "22P02"),
        ("DO $$ BEGIN EXECUTE (SELECT min('SELECT ' || quote_ident(email)) FROM users); END $$", "42703"),
        ("DO $$ BEGIN RAISE EXCEPTION 'no %', (SELECT min(email) FROM users); END $$", "P0001"),
        ("DO $$ BEGIN RAISE WARNING 'no %', (SELECT min(email) FROM users); END $$; SELECT 1/0", "22012"),
    ],
)
async def test_a_migration_and_its_way_back_that_stumble_over_a_row(
    new_database: NewDatabase, caplog: pytest.LogCaptureFixture, sql: str, said: str
) -> None:
    url = await new_database()
    up = {
        "prisma/migrations/1_init/migration.sql": _INIT.encode(),
        "prisma/migrations/2_bad/migration.sql": sql.encode(),
    }
    await migrations.apply(url, read_migrations(up)[:1], (1, 1))
    async with session(url) as connection:
        await connection.execute(_ROWS)
    heard = await told(migrations.apply(url, read_migrations(up), (1, 1)), caplog)
    assert said in heard
    assert CANARY not in heard
    assert said in await kept_in(url)

    down = {
        "prisma/migrations/1_init/migration.sql": _INIT.encode(),
        "prisma/migrations/2_good/migration.sql": b"SELECT 1",
        "prisma/migrations/2_good/down.sql": sql.encode(),
    }
    await migrations.apply(url, read_migrations(down), (1, 1))
    heard = await told(revert(url, read_migrations(down)[1:], (1, 1), kept={}), caplog)
    assert "2_good" in heard
    assert CANARY not in heard


@pytest.mark.parametrize("command", ["activate", "health", "observe"])
async def test_what_productions_commands_print(
    tmp_path: Path,
    new_database: NewDatabase,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setenv("UPGRADES_POSTGRES_BIN", str(postgres_bin_folder()))
    world = await make_world(tmp_path, new_database)
    path = f"hosting/{command}.py"
    usual = (await world.clone.show(world.base, path) or b"").decode()
    world.base = await world.commit("main", {path: (_OF_PRODUCTION + usual).encode()}, "Print more")
    candidate = await proven(world)
    heard = await told(deploy.run(world.job("deploy"), world.deploy_task(candidate), world.tools), caplog)
    assert f"{command} ended with 1" in heard
    assert f"'environments.production.{command}'" in heard
    assert CANARY not in heard + journalled(world)
    assert f"{CANARY} called\n{CANARY} is angry" in await kept_in(world.production)
    caplog.clear()
    task = world.roll_back_task(candidate)
    heard = await told(roll_back.run(world.job("roll-back"), task, world.tools), caplog)
    assert f"{command} ended with 1" in heard
    assert CANARY not in heard + journalled(world)


async def test_a_run_that_wrote_nothing_keeps_nothing_either(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    world = await make_world(tmp_path, new_database)
    await world.execute(world.production, "DROP SCHEMA upgradepath CASCADE")
    script = _OF_PRODUCTION.encode()
    world.base = await world.commit("main", {"hosting/observe.py": script}, "Print more")
    await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    task = world.roll_back_task(None, deploy_began=False, migrations=())
    facts = await roll_back.run(world.job("roll-back"), task, world.tools)
    assert "could not be kept" in facts.model_dump_json()
    assert CANARY not in facts.model_dump_json()
    assert await world.value(world.production, "SELECT to_regnamespace('upgradepath') IS NULL")


async def test_rows_that_do_not_fit_once_they_are_masked(
    tmp_path: Path, new_database: NewDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    world = await make_world(tmp_path, new_database)
    sql = "ALTER TABLE users ADD CONSTRAINT ours CHECK (email LIKE '%@x.example')"
    path = "prisma/migrations/20260102000000_ours/migration.sql"
    world.base = await world.commit("main", {path: sql.encode()}, "Only ours")
    await world.execute(world.production, f"UPDATE users SET email = '{CANARY}@x.example' WHERE id = 1")
    files = {path: sql.encode(), "prisma/migrations/20260101000000_init/migration.sql": b""}
    init = await world.clone.show(world.base, "prisma/migrations/20260101000000_init/migration.sql")
    files["prisma/migrations/20260101000000_init/migration.sql"] = init or b""
    await migrations.apply(world.production, read_migrations(files), (0, 0))
    heard = await told(prepare.run(world.job("prepare"), world.prepare_task(), world.tools), caplog)
    assert "ours" in heard
    assert CANARY not in heard + journalled(world)


async def test_a_restore_that_stumbles_over_a_row(
    tmp_path: Path, postgres: PostgresServer, new_database: NewDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    url = await new_database()
    async with session(url) as connection:
        # The rows of "known" come after those of "guests", for which they are needed.
        await connection.execute(
            "CREATE TABLE known (email text); CREATE TABLE guests (email text);"
            " CREATE FUNCTION greet(who text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN"
            " IF NOT EXISTS (SELECT FROM public.known WHERE email = who) THEN"
            " RAISE EXCEPTION 'who is %', who; END IF; RETURN true; END $$;"
            f" INSERT INTO known VALUES (E'x\\n{CANARY}'); INSERT INTO guests VALUES (E'x\\n{CANARY}');"
            " ALTER TABLE guests ADD CHECK (greet(email))"
        )
    programs = Programs(postgres.bin_folder)
    await programs.dump(url, tmp_path / "all.dump")
    heard = await told(programs.restore(url, tmp_path / "all.dump", (1, 1)), caplog)
    assert "P0001" in heard
    assert CANARY not in heard
    async with session(url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM guests") == 1


@pytest.mark.parametrize("program", ["pg_dump", "pg_restore", "psql"])
async def test_a_program_of_postgresql_that_quotes_rows(
    tmp_path: Path,
    postgres: PostgresServer,
    new_database: NewDatabase,
    caplog: pytest.LogCaptureFixture,
    program: str,
) -> None:
    """Lines as these programs print them, with a row in each place where the server's words may have one."""
    for name in ("pg_dump", "pg_restore", "psql"):
        (tmp_path / name).symlink_to(postgres.bin_folder / name)
    (tmp_path / program).unlink()
    script = f"""\
        #!/bin/sh
        [ "$1" = --version ] && exec {postgres.bin_folder}/{program} --version
        cat >&2 <<'SAID'
        {program}: error: query failed: ERROR:  invalid input syntax for type integer: "{CANARY}"
        {program}: error: query failed: ERROR:  invalid input syntax for type json: "x
        {CANARY}"
        {program}: detail: Command was: COPY users {CANARY}
        {program}: detail: Error message from server: ERROR:  {CANARY}
        DETAIL:  Key (email)=({CANARY}) already exists.
        CONTEXT:  COPY users, line 1, column email: "{CANARY}"
        LINE 1: SELECT '{CANARY}'
        {program}: error: Dumping the contents of table "users" failed: PQgetResult() failed.
        SAID
        exit 1
        """
    (tmp_path / program).write_text(dedent(script))
    os.chmod(tmp_path / program, 0o755)
    url, file = await new_database(), tmp_path / "all.dump"
    if program == "psql":
        await Programs(postgres.bin_folder).dump(url, file)
        heard = await told(Programs(tmp_path).restore(url, file, (1, 1)), caplog)
    else:
        heard = await told(Programs(tmp_path).dump(url, file), caplog)
    assert 'contents of table \\"users\\" failed' in heard
    assert CANARY not in heard


def journalled(world: World) -> str:
    return " ".join(str(effect) for effect in world.journal.effects)
