"""The names that PostgreSQL gives are asked of PostgreSQL itself, in one database for all."""

import pytest

from services.executor.clients.postgres import session
from services.executor.domain.given_names import columns_in, given_name
from tests.conftest import NewDatabase

LONG, BROAD = "a_table_whose_name_is_as_long_as_any_may_be_in_postgresql_at_all"[:60], "ä" * 31
COLUMNS = ("k", "another_column_of_a_rather_long_name_that_does_not_fit_beside_it", BROAD)


@pytest.mark.parametrize("sql", ["k > 0 AND k < 5 OR t.k = 7", "t.k > 0"])
def test_a_column_counts_once_however_it_is_named(sql: str) -> None:
    assert columns_in(sql) == ("k",)


async def test_unnamed_constraints_are_called_as_postgresql_calls_them(new_database: NewDatabase) -> None:
    expected: set[str] = set()
    taken: set[str] = set()
    url = await new_database()
    async with session(url) as connection:
        for table in ("t", LONG, BROAD):
            columns = ", ".join(f'"{each}" int NOT NULL' for each in COLUMNS)
            await connection.execute(f'CREATE TABLE "{table}" ({columns})')
            many = ", ".join(f'"{each}"' for each in COLUMNS)
            made: list[tuple[str, tuple[str, ...], str]] = []
            made += [("check", COLUMNS[:2], f'CHECK ("{COLUMNS[0]}" > "{COLUMNS[1][:63]}")')]
            made += [("check", (each,), f'CHECK ("{each}" > 0)') for each in COLUMNS * 2]
            made += [("unique", COLUMNS, f"UNIQUE ({many})"), ("unique", COLUMNS, f"UNIQUE ({many})")]
            made += [("exclude", COLUMNS[:1], 'EXCLUDE USING btree ("k" WITH =)')]
            made += [("primary key", COLUMNS[:1], 'PRIMARY KEY ("k")')]
            made += [("foreign key", COLUMNS[:1], f'FOREIGN KEY ("k") REFERENCES "{table}"')]
            for what, of, sql in made:
                await connection.execute(f'ALTER TABLE "{table}" ADD {sql}')
                name = given_name(("public", table), what, tuple(each[:63] for each in of), taken)
                taken.add(name)
            if connection.get_server_version().major >= 18:
                expected |= {given_name(("public", table), "not null", (each[:63],)) for each in COLUMNS}
            await connection.execute(f'CREATE INDEX ON "{table}" ({many})')
            index = given_name(("public", table), "index", tuple(each[:63] for each in COLUMNS), taken)
            assert await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f'"{index}"'), index
        named = await connection.fetch("SELECT conname::text FROM pg_constraint WHERE conrelid > 16000")
    assert {row["conname"] for row in named} == expected | taken
