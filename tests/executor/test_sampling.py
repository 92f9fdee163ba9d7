"""A sample keeps relations whole: whatever the limits, no kept row refers to one that is left out."""

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.executor.clients.masking import masked_copy
from services.executor.clients.postgres import session
from services.executor.clients.prisma import read_models
from services.executor.clients.sampling import Sample, choose
from shared.contracts.projects import StagingData
from shared.errors import Failure
from tests.executor.conftest import NewDatabase
from tests.support.mask_rules import with_kept

TABLES = """
CREATE SCHEMA shop;
CREATE TABLE countries (code int PRIMARY KEY);
CREATE TABLE firms (id int PRIMARY KEY, owner_id int, country int NOT NULL REFERENCES countries);
CREATE TABLE people (id int PRIMARY KEY, firm_id int NOT NULL REFERENCES firms,
    boss_id int REFERENCES people);
ALTER TABLE firms ADD FOREIGN KEY (owner_id) REFERENCES people;
CREATE TABLE shop.orders (year int, no int, person_id int REFERENCES people, PRIMARY KEY (year, no));
CREATE TABLE shop.items (id int PRIMARY KEY, year int, no int, FOREIGN KEY (year, no) REFERENCES shop.orders);
CREATE TABLE visits (day int, person_id int NOT NULL REFERENCES people) PARTITION BY RANGE (day);
CREATE TABLE visits_old PARTITION OF visits FOR VALUES FROM (0) TO (50);
CREATE TABLE visits_new PARTITION OF visits FOR VALUES FROM (50) TO (1000);
CREATE TABLE notes (id int);
"""
ROWS = """
INSERT INTO countries SELECT generate_series(0, 4);
INSERT INTO firms SELECT n, NULL, n % 5 FROM generate_series(1, 20) n;
INSERT INTO people SELECT n, 1 + n % 20, CASE WHEN n > 20 THEN n - 20 END FROM generate_series(1, 200) n;
UPDATE firms SET owner_id = id * 7 WHERE id % 3 = 0;
INSERT INTO shop.orders SELECT 2020 + n % 3, n, CASE WHEN n % 9 > 0 THEN 1 + n % 200 END
    FROM generate_series(1, 300) n;
INSERT INTO shop.items SELECT n, 2020 + (1 + n % 300) % 3, 1 + n % 300 FROM generate_series(1, 500) n;
INSERT INTO visits SELECT n % 100, 1 + n % 200 FROM generate_series(1, 400) n;
INSERT INTO notes SELECT generate_series(1, 30);
"""
NAMES = {
    ("public", "countries"): "ONLY countries",
    ("public", "firms"): "ONLY firms",
    ("public", "people"): "ONLY people",
    ("shop", "orders"): "ONLY shop.orders",
    ("shop", "items"): "ONLY shop.items",
    ("public", "visits"): "visits",
    ("public", "notes"): "ONLY notes",
}
REFERENCES = (
    ("firms f", "countries p", "p.code = f.country", "f.country"),
    ("firms f", "people p", "p.id = f.owner_id", "f.owner_id"),
    ("people f", "firms p", "p.id = f.firm_id", "f.firm_id"),
    ("people f", "people p", "p.id = f.boss_id", "f.boss_id"),
    ("shop.orders f", "people p", "p.id = f.person_id", "f.person_id"),
    ("shop.items f", "shop.orders p", "(p.year, p.no) = (f.year, f.no)", "f.year"),
    ("visits f", "people p", "p.id = f.person_id", "f.person_id"),
)
CIRCLE = {("public", "firms"), ("public", "people")}
LIMITS = st.dictionaries(st.sampled_from(sorted(NAMES)), st.integers(0, 60), max_size=4)


@pytest.fixture
async def shop(new_database: NewDatabase) -> str:
    url = await new_database()
    async with session(url) as connection:
        await connection.execute(TABLES + ROWS)
    return url


async def sampled(url: str, rows_max: int | None, limits: Mapping[tuple[str, str], int]) -> Sample:
    async with session(url) as source, source.transaction(isolation="repeatable_read", readonly=True):
        return await choose(source, NAMES, rows_max, limits)


def kept(sample: Sample, table: str) -> str:
    """A subquery of the rows of `table`, written as `schema.name alias`, that the sample keeps."""
    name, alias = table.split()
    key = (name.rpartition(".")[0] or "public", name.rpartition(".")[2])
    return f"(SELECT * FROM {name}{sample.condition(key)}) {alias}"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows_max=st.none() | st.integers(0, 60), limits=LIMITS)
async def test_no_kept_row_refers_to_one_that_is_left_out(
    shop: str, rows_max: int | None, limits: dict[tuple[str, str], int]
) -> None:
    sample = await sampled(shop, rows_max, limits)
    assert await sampled(shop, rows_max, limits) == sample
    async with session(shop) as connection:
        for child, parent, matches, refers in REFERENCES:
            lost = await connection.fetchval(
                f"SELECT count(*) FROM {kept(sample, child)} WHERE {refers} IS NOT NULL"
                f" AND NOT EXISTS (SELECT FROM {kept(sample, parent)} WHERE {matches})"
            )
            assert lost == 0, (child, parent)
    for table, rows in sample.rows.items():
        limit = limits.get(table, rows_max)
        if limit is not None and table not in CIRCLE and table != ("public", "countries"):
            assert len(rows) <= limit
    if rows_max is None and not limits:
        assert sample.rows == {}


async def test_what_hangs_on_a_row_that_is_left_out_is_left_out_too(shop: str) -> None:
    sample = await sampled(shop, None, {("public", "people"): 10})
    sizes = {table[1]: len(rows) for table, rows in sample.rows.items()}
    assert "notes" not in sizes
    assert "countries" not in sizes
    assert 10 <= sizes["people"] < 100
    assert 0 < sizes["visits"] < 200
    assert 300 // 9 <= sizes["orders"] < 200


async def test_a_sampled_copy_holds_its_own_constraints(shop: str, new_database: NewDatabase) -> None:
    staging = await new_database()
    async with session(staging) as connection:
        await connection.execute(TABLES)
    fields = {
        "countries": ["code Int @id"],
        "firms": ["id Int @id", "owner_id Int?", "country Int"],
        "people": ["id Int @id", "firm_id Int", "boss_id Int?"],
        "orders": ["year Int", "no Int", "person_id Int?", '@@schema("shop")'],
        "items": ["id Int @id", "year Int?", "no Int?", '@@schema("shop")'],
        "visits": ["day Int?", "person_id Int"],
        "notes": ["id Int?"],
    }
    schema = "\n".join(f"model {name} {{\n" + "\n".join(lines) + "\n}" for name, lines in fields.items())
    models = read_models({"s.prisma": with_kept(schema)})
    data = StagingData(rows_max=50, rows={"people": 10, "shop.items": 5})
    copied = await masked_copy(shop, staging, models, data=data)
    assert copied.rows["shop.items"] <= 5
    assert copied.rows["visits"] <= 50
    assert copied.rows["notes"] == 30
    async with session(staging) as connection:
        for child, parent, matches, refers in REFERENCES:
            lost = f"NOT EXISTS (SELECT FROM {parent} WHERE {matches})"
            query = f"SELECT count(*) FROM {child} WHERE {refers} IS NOT NULL AND {lost}"
            assert await connection.fetchval(query) == 0
    with pytest.raises(Failure, match=r"does not have: nobody") as caught:
        await masked_copy(shop, staging, models, data=StagingData(rows={"nobody": 1}))
    assert caught.value.outcome.findings[0].subject == "staging.rows.nobody"
