"""Large tables are filled without their indexes, side by side; staging is then as if they had been there."""

import pytest

from services.executor.clients.masking import Progress, masked_copy
from services.executor.clients.postgres import schema_description, session
from services.executor.clients.prisma import read_models
from services.executor.clients.set_aside import SetAside, set_aside
from shared.errors import Failure
from tests.executor.conftest import NewDatabase
from tests.support.mask_rules import with_kept

TABLES = """
CREATE TABLE firms (id int PRIMARY KEY, owner_id int, name text NOT NULL
    UNIQUE DEFERRABLE INITIALLY DEFERRED, pad text, span int4range, EXCLUDE USING gist (span WITH &&));
CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    firm_id int NOT NULL REFERENCES firms (id), email text NOT NULL, boss_id int REFERENCES people (id),
    pad text, CONSTRAINT mails UNIQUE (firm_id, email));
ALTER TABLE firms ADD CONSTRAINT owned FOREIGN KEY (owner_id) REFERENCES people (id) DEFERRABLE;
CREATE INDEX ON people (lower(email)) WHERE boss_id IS NOT NULL;
CREATE INDEX ON firms USING hash (name);
CREATE TABLE notes (id int PRIMARY KEY, n int, pad text);
CREATE VIEW noted AS SELECT id, n FROM notes GROUP BY id;
CREATE TABLE logs (at int NOT NULL PRIMARY KEY, person_id int REFERENCES people (id))
    PARTITION BY RANGE (at);
CREATE TABLE logs_old PARTITION OF logs FOR VALUES FROM (0) TO (500);
CREATE TABLE logs_new PARTITION OF logs FOR VALUES FROM (500) TO (1000);
CREATE INDEX ON logs (person_id);
CREATE TABLE base (id int);
CREATE TABLE derived (extra int) INHERITS (base);
CREATE MATERIALIZED VIEW z_counted AS SELECT count(*) AS n FROM people;
CREATE MATERIALIZED VIEW a_copied AS SELECT n FROM z_counted;
"""
ROWS = """
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO firms SELECT n, NULL, 'firm ' || n, repeat(md5(n::text), 60), int4range(n, n + 1)
    FROM generate_series(1, 9000) n;
INSERT INTO people (firm_id, email, boss_id, pad)
    SELECT n, 'ann' || n || '@real.example', nullif(n / 2, 0), repeat(md5(n::text), 60)
    FROM generate_series(1, 9000) n;
UPDATE firms SET owner_id = id WHERE id < 10;
INSERT INTO notes SELECT n, n, repeat(md5(n::text), 60) FROM generate_series(1, 9000) n;
INSERT INTO logs SELECT n, n + 1 FROM generate_series(0, 999) n;
INSERT INTO base VALUES (1);
INSERT INTO derived VALUES (2, 3);
COMMIT;
"""
SCHEMA = """
model firms {
  id Int @id
  owner_id Int?
  /// @mask hash
  name String
  /// @mask keep
  pad String?
  /// @mask keep
  span Unsupported("int4range")?
}
model people {
  id Int @id
  firm_id Int
  /// @mask email
  email String
  boss_id Int?
  /// @mask keep
  pad String?
}
model notes {
  id Int @id
  n Int?
  /// @mask keep
  pad String?
}
model logs {
  at Int @id
  person_id Int?
}
model base {
  id Int
}
model derived {
  id Int
  extra Int
}
"""


async def pair(new_database: NewDatabase) -> tuple[str, str]:
    production, staging = await new_database(), await new_database()
    for url in (production, staging):
        async with session(url) as connection:
            await connection.execute(TABLES)
    async with session(production) as connection:
        await connection.execute(ROWS)
    return production, staging


async def test_rows_keys_and_views_are_there_and_the_schema_is_as_before(new_database: NewDatabase) -> None:
    production, staging = await pair(new_database)
    progress = Progress()
    copied = await masked_copy(production, staging, read_models({"s.prisma": with_kept(SCHEMA)}), progress)
    large = {"firms": 9000, "people": 9000, "notes": 9000}
    assert copied.rows == {**large, "logs": 1000, "base": 1, "derived": 1}
    assert progress.bytes > 3 * 9000 * 60 * 32
    assert progress.tables == []
    assert await schema_description(staging) == await schema_description(production)
    async with session(staging) as connection:
        assert await connection.fetchval("SELECT count(*) FROM people WHERE email LIKE '%real%'") == 0
        assert await connection.fetchval("SELECT n FROM a_copied") == 9000
        assert (
            await connection.fetchval("SELECT count(*) FROM firms f JOIN people p ON p.id = f.owner_id") == 9
        )
        assert await connection.fetchval("SELECT count(*) FROM logs_new") == 500
        assert await connection.fetchval("SELECT reltuples FROM pg_class WHERE relname = 'people'") == 9000


async def test_a_mask_that_breaks_what_was_set_aside_is_told(new_database: NewDatabase) -> None:
    production, staging = await pair(new_database)
    for url in (production, staging):
        async with session(url) as connection:
            await connection.execute(
                "CREATE UNIQUE INDEX by_initial ON people ((id + length(split_part(email, '@', 2)) * 0 +"
                " CASE WHEN email LIKE '%invalid' THEN -id ELSE 0 END))"
            )
    with pytest.raises(Failure, match="the masked rows of people do not fit") as caught:
        await masked_copy(production, staging, read_models({"s.prisma": with_kept(SCHEMA)}))
    (finding,) = caught.value.outcome.findings
    assert "by_initial" in finding.detail


VISITS = """
CREATE TABLE visits (at int NOT NULL, who text, pad text, PRIMARY KEY (at), UNIQUE (at, who))
    PARTITION BY RANGE (at);
CREATE TABLE visits_old PARTITION OF visits FOR VALUES FROM (0) TO (500);
CREATE TABLE visits_new PARTITION OF visits FOR VALUES FROM (500) TO (20000);
CREATE INDEX ON visits (who);
CREATE INDEX ON visits USING hash (who) WHERE at > 3;
CREATE INDEX only_here ON visits_old (at, who);
"""
VISITED = """
model visits {
  at Int @id
  /// @mask email
  who String?
  /// @mask keep
  pad String?
}
"""


async def test_a_large_partitioned_table_is_filled_without_its_indexes(new_database: NewDatabase) -> None:
    production, staging = await new_database(), await new_database()
    for url in (production, staging):
        async with session(url) as connection:
            await connection.execute(VISITS)
    async with session(staging) as connection:
        undone = connection.transaction()
        await undone.start()
        aside = await set_aside(connection, "public", "visits", partitioned=True)
        assert len(aside.own) == 4
        await undone.rollback()
    async with session(production) as connection:
        await connection.execute(
            "INSERT INTO visits SELECT n, n || '@real.example', repeat(md5(n::text), 60)"
            " FROM generate_series(1, 9000) n"
        )
    copied = await masked_copy(production, staging, read_models({"s.prisma": with_kept(VISITED)}))
    assert copied.rows == {"visits": 9000}
    assert await schema_description(staging) == await schema_description(production)
    async with session(staging) as connection:
        assert await connection.fetchval("SELECT count(*) FROM visits_old WHERE who LIKE '%real%'") == 0
        assert await connection.fetchval("SELECT bool_and(indisvalid) FROM pg_index")


async def test_a_partition_with_names_of_its_own_keeps_its_indexes(new_database: NewDatabase) -> None:
    url = await new_database()
    async with session(url) as connection:
        await connection.execute(f"{VISITS}; ALTER INDEX visits_old_pkey RENAME TO by_time")
        assert await set_aside(connection, "public", "visits", partitioned=True) == SetAside()
    assert any("by_time" in line for line in await schema_description(url))
