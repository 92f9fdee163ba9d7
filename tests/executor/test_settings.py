"""A role's or a database's own settings change neither what we see nor what a script means."""

import asyncpg
import pytest

from services.executor.clients import migrations
from services.executor.clients.masking import masked_copy
from services.executor.clients.migration_table import locked
from services.executor.clients.postgres import schema_description, session
from services.executor.clients.preflight import lacking
from services.executor.clients.prisma import read_models
from shared.clients.database_urls import with_database
from tests.conftest import NewDatabase
from tests.executor.test_migrations import execute, migration
from tests.support.mask_rules import with_kept

SETTINGS = {
    "DateStyle": "'SQL, DMY'",
    "IntervalStyle": "sql_standard",
    "TimeZone": "'Pacific/Auckland'",
    "extra_float_digits": "-3",
    "bytea_output": "escape",
    "quote_all_identifiers": "on",
    "idle_session_timeout": "'5s'",
    "idle_in_transaction_session_timeout": "'5s'",
    "check_function_bodies": "off",
    "default_transaction_isolation": "serializable",
}
TABLE = """
    CREATE TABLE kinds (
        id int PRIMARY KEY, at timestamptz DEFAULT '2026-01-02 03:00+00', on_day date,
        took interval DEFAULT '1 day', share float8, bytes bytea
    );
    CREATE VIEW seen AS SELECT id, at FROM kinds WHERE on_day > '2026-02-01'::date
"""


async def fetch(url: str, sql: str) -> list[tuple[object, ...]]:
    async with session(url) as connection:
        return [tuple(row) for row in await connection.fetch(sql)]


async def with_settings(url: str, settings: dict[str, str]) -> None:
    database = url.rpartition("/")[2]
    commands = "; ".join(
        f"ALTER DATABASE {database} SET {name} = {value}" for name, value in settings.items()
    )
    await execute(with_database(url, "postgres"), commands)


async def test_a_description_is_the_same_under_any_settings(new_database: NewDatabase) -> None:
    one, other = await new_database(), await new_database()
    await execute(one, TABLE)
    await execute(other, TABLE)
    await with_settings(other, SETTINGS)
    assert await schema_description(one) == await schema_description(other)


async def test_a_copy_reads_dates_as_they_were_written(new_database: NewDatabase) -> None:
    production, staging = await new_database(), await new_database()
    for url in (production, staging):
        await execute(url, TABLE)
    await execute(
        production,
        "INSERT INTO kinds VALUES"
        " (1, '2026-03-04 05:06:07.891+00', '2026-03-04', '1 mon 2 days -3 hours', 0.1, '\\x00')",
    )
    await with_settings(production, SETTINGS)
    await with_settings(staging, {"DateStyle": "'ISO, MDY'"})
    models = read_models(
        {"s.prisma": with_kept("model kinds {\n id Int @id\n at DateTime?\n on_day DateTime?\n share Float?\n"
         ' /// @mask keep\n took Unsupported("interval")?\n /// @mask keep\n bytes Bytes?\n}')}
    )  # fmt: skip
    await masked_copy(production, staging, models)
    same = (
        "SELECT at = '2026-03-04 05:06:07.891+00' AND on_day = '2026-03-04' AND share = 0.1::float8"
        " AND took = '1 mon 2 days -3 hours' AND bytes = decode('00', 'hex') FROM kinds"
    )
    assert await fetch(staging, same) == [(True,)]


async def test_a_script_means_what_it_means_to_prisma(new_database: NewDatabase) -> None:
    ours, plain = await new_database(), await new_database()
    script = (
        "CREATE TABLE days (day date, at timestamptz, word text); INSERT INTO days VALUES"
        " ('02/01/2026', '2026-01-01 00:00', current_setting('TimeZone'));"
        " CREATE FUNCTION later() RETURNS int LANGUAGE sql AS 'SELECT x FROM not_there_yet'"
    )
    for url in (ours, plain):
        await with_settings(url, SETTINGS)
    await migrations.apply(ours, [migration("1_days", script)], (1, 1))
    connection = await asyncpg.connect(plain)
    await connection.execute(script)
    await connection.close()
    asked = "SELECT to_char(day, 'YYYY-MM-DD'), extract(epoch FROM at)::bigint, word FROM days"
    assert await fetch(ours, asked) == await fetch(plain, asked)
    assert (await fetch(ours, asked))[0][0] == "2026-01-02"


async def test_no_deadline_of_others_ends_the_session_that_holds_the_lock(new_database: NewDatabase) -> None:
    url = await new_database()
    await with_settings(url, SETTINGS)
    async with locked(url, (1, 1)) as table:
        asked = "SELECT current_setting('idle_session_timeout')"
        assert await table.connection.fetchval(asked) == "0"
        await table.settle_session()
        assert await table.connection.fetchval(asked) == "0"


@pytest.mark.parametrize(
    ("name", "value"), [("standard_conforming_strings", "off"), ("session_replication_role", "replica")]
)
@pytest.mark.superuser
async def test_settings_under_which_a_script_is_another_are_refused(
    new_database: NewDatabase, name: str, value: str
) -> None:
    url = await new_database()
    assert await lacking(url, [migration("1_m", "SELECT 1")]) == []
    await with_settings(url, {name: value})
    (finding,) = await lacking(url, [migration("1_m", "SELECT 1")])
    assert (
        finding.subject,
        finding.cure.endswith(f"SET {name} = {'on' if value == 'off' else 'origin'}"),
    ) == (
        name,
        True,
    )
