"""Staging is faithful: equal values stay equal as the database compares, and lawful rows arrive."""

from typing import Any

import asyncpg
import pytest

from local.postgres import EmbeddedPostgres
from services.executor.clients.masking import masked_copy
from services.executor.clients.postgres import described, session
from services.executor.clients.prisma import read_models
from shared.errors import Failure
from shared.prisma.mask_words import MaskRule
from tests.executor.conftest import NewDatabase
from tests.support.mask_rules import with_kept


async def copied(
    new_database: NewDatabase, schema: str, data: str, models: str, *, late: str = ""
) -> tuple[str, str]:
    """Production with rows, and a staging of the same schema filled from it; `late` comes after the rows."""
    production, staging = await new_database(), await new_database()
    for url, script in ((production, schema + data + late), (staging, schema + late)):
        async with session(url) as connection:
            await connection.execute(script)
    await masked_copy(production, staging, read_models({"prisma/schema/main.prisma": with_kept(models)}))
    return production, staging


async def fetched(url: str, query: str) -> list[tuple[Any, ...]]:
    async with session(url) as connection:
        return [tuple(row) for row in await connection.fetch(query)]


async def lines(url: str) -> tuple[str, ...]:
    async with session(url) as connection:
        return await described(connection)


ORDERS = """
CREATE TABLE orders (id int PRIMARY KEY, amount int) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE TABLE audit (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), order_id int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN INSERT INTO public.audit (order_id) VALUES (NEW.id); RETURN NEW; END$$;
CREATE TRIGGER noted AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER quiet AFTER INSERT ON orders_1 FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE orders_1 DISABLE TRIGGER quiet;
"""
ORDER_MODELS = """
model orders {
  id     Int @id
  amount Int?
}
model audit {
  id       String @id @db.Uuid
  order_id Int?
}
"""
MODES = "SELECT tgrelid::regclass::text, tgname::text, tgenabled::text FROM pg_trigger ORDER BY 1, 2"


@pytest.mark.parametrize("mode", ["ALWAYS", "REPLICA"])
async def test_no_trigger_of_any_mode_fires_while_rows_arrive_and_all_modes_are_as_before(
    new_database: NewDatabase, mode: str
) -> None:
    production, staging = await copied(
        new_database,
        f"{ORDERS} ALTER TABLE orders ENABLE {mode} TRIGGER noted;",
        "ALTER TABLE orders DISABLE TRIGGER noted; INSERT INTO orders VALUES (1, 10), (2, 20);"
        f" ALTER TABLE orders ENABLE {mode} TRIGGER noted; ALTER TABLE orders_1 DISABLE TRIGGER quiet;",
        ORDER_MODELS,
    )
    assert await fetched(staging, "SELECT count(*) FROM audit") == [(0,)]
    assert await fetched(staging, "SELECT count(*) FROM orders") == [(2,)]
    assert await fetched(staging, MODES) == await fetched(production, MODES)


LOOSE = """
CREATE TABLE prices (id int PRIMARY KEY, amount int);
CREATE TABLE more_prices () INHERITS (prices);
CREATE DOMAIN size AS int;
CREATE TABLE shirts (id int PRIMARY KEY, size size);
"""
LOOSE_RULES = """
ALTER TABLE prices ADD CONSTRAINT positive CHECK (amount > 0) NOT VALID;
COMMENT ON CONSTRAINT positive ON prices IS 'since last May';
ALTER DOMAIN size ADD CONSTRAINT small CHECK (VALUE < 60) NOT VALID;
"""


async def test_rows_older_than_a_rule_that_is_not_valid_are_copied_and_the_rule_comes_back(
    new_database: NewDatabase,
) -> None:
    production, staging = await copied(
        new_database,
        LOOSE,
        "INSERT INTO prices VALUES (1, -5); INSERT INTO more_prices VALUES (2, -6);"
        " INSERT INTO shirts VALUES (1, 70);",
        "\n".join(
            f"model {name} {{\n id Int @id\n {field} Int?\n}}"
            for name, field in (("prices", "amount"), ("more_prices", "amount"), ("shirts", "size"))
        ),
        late=LOOSE_RULES,
    )
    assert await fetched(staging, "SELECT amount FROM prices ORDER BY id") == [(-5,), (-6,)]
    assert await fetched(staging, "SELECT size FROM shirts") == [(70,)]
    assert await lines(staging) == await lines(production)
    comment = "SELECT obj_description(oid) FROM pg_constraint WHERE conname = 'positive' AND coninhcount = 0"
    assert await fetched(staging, comment) == [("since last May",)]
    with pytest.raises(asyncpg.CheckViolationError):
        await fetched(staging, "INSERT INTO more_prices VALUES (3, -7) RETURNING id")


async def test_a_rule_that_looks_at_rows_of_another_table_waits_for_them(new_database: NewDatabase) -> None:
    _, staging = await copied(
        new_database,
        "CREATE TABLE a_items (id int PRIMARY KEY, kind int); CREATE TABLE kinds (id int PRIMARY KEY);"
        "CREATE FUNCTION known(int) RETURNS boolean LANGUAGE sql STABLE AS"
        " $$SELECT EXISTS (SELECT FROM public.kinds WHERE id = $1)$$;"
        "ALTER TABLE a_items ADD CONSTRAINT of_a_kind CHECK (known(kind));",
        "INSERT INTO kinds VALUES (7); INSERT INTO a_items VALUES (1, 7);",
        "model a_items {\n id Int @id\n kind Int?\n}\nmodel kinds {\n id Int @id\n}",
    )
    assert await fetched(staging, "SELECT kind FROM a_items") == [(7,)]
    valid = "SELECT convalidated FROM pg_constraint WHERE conname = 'of_a_kind'"
    assert await fetched(staging, valid) == [(True,)]


PEOPLE = "model people {\n  id Int @id\n  /// @mask %s\n  data %s\n}"


@pytest.mark.parametrize(
    ("schema", "row", "rule", "kind", "named"),
    [
        (
            "CREATE TABLE people (id int PRIMARY KEY, data jsonb); CREATE MATERIALIZED VIEW ages AS"
            " SELECT id, (data ->> 'age')::int AS age FROM people;",
            """(1, '{"age": "41"}')""",
            "json age",
            "Json?",
            "public.ages",
        ),
        (
            "CREATE FUNCTION is_code(t text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN"
            " IF t !~ '^[A-Z]{2}' THEN RAISE EXCEPTION 'no code: %', t; END IF; RETURN true; END$$;"
            " CREATE TABLE people (id int PRIMARY KEY, data text CHECK (is_code(data)));",
            "(1, 'DE12')",
            "hash",
            "String?",
            "people_data_check",
        ),
        (
            "CREATE TABLE people (id int PRIMARY KEY, data text CHECK (data ~ '^[A-Z]'));",
            "(1, 'DE12')",
            "hash",
            "String?",
            "people",
        ),
    ],
    ids=["materialized view", "rule in its own words", "rule"],
)
async def test_what_masked_rows_break_is_a_verdict_that_names_it(
    new_database: NewDatabase, schema: str, row: str, rule: str, kind: str, named: str
) -> None:
    with pytest.raises(Failure) as caught:
        await copied(new_database, schema, f"INSERT INTO people VALUES {row};", PEOPLE % (rule, kind))
    (finding,) = caught.value.outcome.findings
    assert named in finding.subject
    assert finding.cure
    assert "DE12" not in finding.detail


async def test_a_view_that_production_keeps_empty_stays_empty(new_database: NewDatabase) -> None:
    _, staging = await copied(
        new_database,
        "CREATE TABLE people (id int PRIMARY KEY, data text);"
        "CREATE MATERIALIZED VIEW broken AS SELECT 1 / (id - id) AS n FROM people WITH NO DATA;",
        "INSERT INTO people VALUES (1, 'x');",
        PEOPLE % ("hash", "String?"),
    )
    populated = "SELECT relispopulated FROM pg_class WHERE relname = 'broken'"
    assert await fetched(staging, populated) == [(False,)]


MEMBERS = """
model members {
  /// @mask %(rule)s
  login String @id
}
model loans {
  id    Int @id
  /// @mask %(rule)s
  login %(kind)s
}
"""
PAIRS = {
    "a shorter column": (
        "CREATE TABLE members (login text PRIMARY KEY);"
        "CREATE TABLE loans (id int PRIMARY KEY, login varchar(26) REFERENCES members);",
        "String @db.VarChar(26)",
    ),
    "a shorter domain over a domain": (
        "CREATE DOMAIN handle AS varchar(24); CREATE DOMAIN short AS handle;"
        "CREATE TABLE members (login text PRIMARY KEY);"
        "CREATE TABLE loans (id int PRIMARY KEY, login short REFERENCES members);",
        "String",
    ),
    "padded characters": (
        "CREATE TABLE members (login char(30) PRIMARY KEY);"
        "CREATE TABLE loans (id int PRIMARY KEY, login char(22) REFERENCES members);",
        "String",
    ),
}


@pytest.mark.parametrize("rule", ["hash", "name", "email", "phone"])
@pytest.mark.parametrize("pair", PAIRS)
async def test_rows_that_belong_together_find_each_other_in_staging(
    new_database: NewDatabase, pair: str, rule: MaskRule
) -> None:
    schema, kind = PAIRS[pair]
    _, staging = await copied(
        new_database,
        schema,
        "INSERT INTO members VALUES ('ann'), ('bob'); INSERT INTO loans VALUES (1, 'ann'), (2, 'bob');",
        MEMBERS % {"rule": rule, "kind": kind},
    )
    found = await fetched(staging, "SELECT l.id FROM loans l JOIN members m ON m.login = l.login ORDER BY 1")
    assert found == [(1,), (2,)]
    assert await fetched(staging, "SELECT count(DISTINCT login) FROM loans") == [(2,)]
    assert not await fetched(staging, "SELECT FROM members WHERE login IN ('ann', 'bob')")


LOOSE_PAIRS = {
    "a collation without case": (
        "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
        "CREATE TABLE members (login text COLLATE nocase PRIMARY KEY);"
        "CREATE TABLE loans (id int PRIMARY KEY, login text COLLATE nocase REFERENCES members);"
    ),
    "citext": (
        "CREATE EXTENSION citext; CREATE TABLE members (login citext PRIMARY KEY);"
        "CREATE TABLE loans (id int PRIMARY KEY, login citext REFERENCES members);"
    ),
    "a domain over citext": (
        "CREATE EXTENSION citext; CREATE DOMAIN handle AS citext;"
        "CREATE TABLE members (login handle PRIMARY KEY);"
        "CREATE TABLE loans (id int PRIMARY KEY, login handle REFERENCES members);"
    ),
}


@pytest.mark.parametrize("rule", ["hash", "name", "email", "phone"])
@pytest.mark.parametrize("pair", LOOSE_PAIRS)
async def test_values_that_differ_in_case_alone_stay_equal_where_the_type_says_so(
    postgres_15: EmbeddedPostgres, pair: str, rule: MaskRule
) -> None:
    names = (f"{side}_{rule}_{list(LOOSE_PAIRS).index(pair)}" for side in ("production", "staging"))

    async def new_database() -> str:
        name = next(names)
        postgres_15.create_database(name)
        return postgres_15.url(name)

    _, staging = await copied(
        new_database,
        LOOSE_PAIRS[pair],
        "INSERT INTO members VALUES ('Ann'), ('Bob'); INSERT INTO loans VALUES (1, 'ANN'), (2, 'Bob');",
        MEMBERS % {"rule": rule, "kind": "String"},
    )
    found = await fetched(staging, "SELECT l.id FROM loans l JOIN members m ON m.login = l.login ORDER BY 1")
    assert found == [(1,), (2,)]
    assert not await fetched(staging, "SELECT FROM members WHERE login = 'Ann'")


@pytest.mark.parametrize(("rule", "rows"), [("name", 60_000), ("phone", 60_000), ("email", 60_000)])
async def test_a_unique_column_keeps_its_values_apart(
    new_database: NewDatabase, rule: MaskRule, rows: int
) -> None:
    """With eight digits for a name, every second try of so many rows meets two equal ones."""
    _, staging = await copied(
        new_database,
        "CREATE TABLE people (id int PRIMARY KEY, data text NOT NULL UNIQUE);",
        f"INSERT INTO people SELECT n, 'nick' || n FROM generate_series(1, {rows}) n;",
        PEOPLE % (rule, "String @unique"),
    )
    assert await fetched(staging, "SELECT count(DISTINCT data) FROM people") == [(rows,)]
    # Decided by enough digits, not by luck: twenty bits are to spare.
    digits = (await fetched(staging, "SELECT min(length(data)) FROM people"))[0][0]
    assert digits >= {"name": 7 + 13, "phone": 4 + 16, "email": 16 + 16}[rule]


async def test_a_unique_column_that_is_too_narrow_is_refused_before_a_row_is_read(
    new_database: NewDatabase,
) -> None:
    with pytest.raises(Failure) as caught:
        await copied(
            new_database,
            "CREATE TABLE people (id int PRIMARY KEY, data varchar(12) NOT NULL UNIQUE);",
            "INSERT INTO people SELECT n, 'nick' || n FROM generate_series(1, 5000) n;",
            PEOPLE % ("name", "String @unique @db.VarChar(12)"),
        )
    (finding,) = caught.value.outcome.findings
    assert finding.subject == "people.data"
    assert "no room for 5,000 masks" in finding.detail


async def test_a_narrow_unique_column_is_hashed_densely_where_that_is_enough(
    new_database: NewDatabase,
) -> None:
    _, staging = await copied(
        new_database,
        "CREATE TABLE people (id int PRIMARY KEY, data varchar(10) NOT NULL UNIQUE);",
        "INSERT INTO people SELECT n, 'nick' || n FROM generate_series(1, 2000) n;",
        PEOPLE % ("hash", "String @unique @db.VarChar(10)"),
    )
    assert await fetched(staging, "SELECT count(DISTINCT data), max(length(data)) FROM people") == [
        (2000, 10)
    ]


async def test_nested_arrays_keep_their_shape(new_database: NewDatabase) -> None:
    shape = "SELECT array_dims(data) FROM people ORDER BY id"
    production, staging = await copied(
        new_database,
        "CREATE TABLE people (id int PRIMARY KEY, data text[]);",
        "INSERT INTO people VALUES (1, '{{a,b},{c,a}}'), (2, '{}'), (3, NULL), (4, '{{{x},{y}},{{z},{x}}}'),"
        " (5, '{a,NULL}');",
        PEOPLE % ("hash", "String[]"),
    )
    assert await fetched(staging, shape) == await fetched(production, shape)
    same = "SELECT data[1][1] = data[2][2], data[1][1] <> data[1][2] FROM people WHERE id = 1"
    assert await fetched(staging, same) == [(True, True)]
    assert await fetched(staging, "SELECT data[2] IS NULL FROM people WHERE id = 5") == [(True,)]
