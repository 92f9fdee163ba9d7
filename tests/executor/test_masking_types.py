"""Every type of PostgreSQL has a rule that leaves nothing of a value, and noise keeps what it promises."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.executor.clients.mask_columns import columns_of
from services.executor.clients.mask_rules import Likeness, expression
from services.executor.clients.mask_types import Column
from services.executor.clients.masking import masked_copy
from services.executor.clients.postgres import session
from services.executor.clients.prisma import read_models
from shared.errors import Failure
from shared.prisma.mask_words import RULES, parse_rule
from tests.executor.conftest import NewDatabase

MADE = """
CREATE TYPE mood AS ENUM ('sad', 'glad', 'it''s');
CREATE DOMAIN wage AS numeric(8,2);
CREATE DOMAIN wages AS wage CHECK (VALUE > 0);
"""
CASES = {
    "int2": ("41", "number 9", "hash"),
    "int4": ("2147483640", "number 9", "hash"),
    "int8": ("4711471147114711", "number 900", "hash"),
    "numeric": ("4711.4711", "number 5.5", "hash"),
    "numeric(8,2)": ("4711.47", "number 0.01", "number 100", "hash"),
    "numeric(3,3)": ("0.471", "number 0.1", "hash"),
    "wages": ("4711.47", "number 7", "hash"),
    "wage[]": ("{4711.47,NULL,1}", "number 7", "hash"),
    "real": ("4711.5", "number 0.5", "hash"),
    "float8": ("-4711.5", "number 100", "hash"),
    "money": ("$4,711.47", "number 3", "hash"),
    "date": ("1971-04-11", "date 1", "date 30", "hash"),
    "date[]": ("{{1971-04-11},{0044-03-15 BC}}", "date 30", "hash"),
    "timestamp": ("1971-04-11 04:07:11", "date 30", "hash"),
    "date[][]": ("{5874897-12-31,294276-12-31}", "date 30"),
    "timestamp(0)": ("294276-12-31 23:59:59", "date 30"),
    "timestamptz(0)": ("0044-03-15 12:00:00+00 BC", "date 30"),
    "time": ("04:07:11", "hash"),
    "timetz": ("04:07:11+02", "hash"),
    "interval": ("47 days 11:00", "hash"),
    "uuid": ("47110000-0000-0000-0000-000000004711", "uuid", "hash"),
    "mood": ("it's", "enum"),
    "mood[]": ("{glad,NULL,sad}", "enum"),
    "inet": ("203.0.113.47", "hash"),
    "cidr": ("203.0.113.0/24", "hash"),
    "macaddr": ("47:11:47:11:47:11", "hash"),
    "macaddr8": ("47:11:47:11:47:11:47:11", "hash"),
    "bit(9)": ("101110111", "hash"),
    "varbit": ("101" * 200, "hash"),
    "point": ("(47.11,47.11)", "hash"),
    "circle": ("<(47.11,47.11),3>", "hash"),
    "box": ("(47.11,47.11),(1,1)", "hash"),
    "lseg": ("[(47.11,47.11),(1,1)]", "hash"),
    "path": ("((47.11,47.11),(1,1))", "hash"),
    "polygon": ("((47.11,47.11),(1,1),(2,2))", "hash"),
    "line": ("{1,2,47.11}", "hash"),
    "tsvector": ("'ann':1A", "hash"),
    "tsquery": ("'ann' & 'bob'", "hash"),
    "jsonpath": ('$."ann"', "hash"),
    "bytea": ("\\x4711", "hash"),
    '"char"': ("Z", "hash"),
    "oid": ("4711", "hash"),
    "xid": ("4711", "hash"),
    "xid8": ("4711", "hash"),
    "pg_lsn": ("47/11", "hash"),
    "daterange": ("[1971-04-11,1971-08-01)", "date 30"),
    "tstzrange": ("[1971-04-11 00:00:00+00,)", "date 30"),
    "datemultirange": ("{[1971-04-11,1971-05-11),[1999-01-01,)}", "date 30"),
    "int4range": ("[4711,4799)", "number 40"),
    "numrange": ("(47.11,48.11]", "number 0.5"),
    "nummultirange": ("{[47.11,48.11]}", "number 0.5"),
    "jsonb": ('{"ann": {"street": 4711}}', "json", "json street", "hash"),
    "json[]": (r'{"{\"ann\":-4711.5e3}"}', "json"),
    "text": ("47110000-0000", "uuid", "email", "name", "phone", "hash"),
}
EMPTY = {
    "daterange": "empty",
    "datemultirange": "{}",
    "date": "infinity",
    "timestamp": "-infinity",
    "numeric": "NaN",
    "float8": "-Infinity",
    "date[]": "{}",
    "jsonb": "null",
}


async def test_each_type_takes_its_rules_and_none_leaves_the_value(new_database: NewDatabase) -> None:
    """A rule whose SQL fails for a type, keeps the value, or loses a null, an empty or an infinite one."""
    pairs = [(kind, value, rule) for kind, (value, *rules) in CASES.items() for rule in rules]
    async with session(await new_database(), plain=True) as connection:
        columns = ", ".join(f"c{place} {kind}" for place, (kind, _, _) in enumerate(pairs))
        await connection.execute(f"{MADE} CREATE TABLE t ({columns})")
        found = await columns_of(connection)
        for values in ([value for _, value, _ in pairs], [EMPTY.get(kind) for kind, _, _ in pairs]):
            marks = ", ".join(f"${place}::text::{kind}" for place, (kind, _, _) in enumerate(pairs, start=1))
            await connection.execute(f"INSERT INTO t VALUES ({marks})", *values)
        for column, (kind, value, rule) in zip(found, pairs, strict=True):
            assert column.takes(rule), (kind, rule)
            likeness = Likeness(type_bits=column.hash_bits)
            masked = expression(column, rule, "salt", likeness)
            rows = await connection.fetch(
                f"SELECT ({masked})::text AS masked, ({masked})::text AS again, {column.column}::text AS was"
                " FROM t"
            )
            (first, empty) = rows
            assert first["masked"] == first["again"] is not None
            assert first["masked"] != first["was"], (kind, rule, value)
            if rule != "json street":
                assert "ann" not in first["masked"].lower()
            if rule not in ("hash",):
                assert empty["masked"] == empty["was"], (kind, rule)


async def axis(connection: Any, kind: str, rule: str, values: list[str], **likeness: Any) -> list[Any]:
    await connection.execute(f"CREATE TEMPORARY TABLE t (c {kind})")
    try:
        await connection.execute(f"INSERT INTO t SELECT x::{kind} FROM unnest($1::text[]) x", values)
        column = Column("", "t", "c", False, kind, False, False, False, kind, "N", False, 0)
        masked = expression(column, rule, "a salt", Likeness(**likeness))
        rows = await connection.fetch(
            f"SELECT c, {masked} AS m, ({masked} - c)::text AS by FROM t ORDER BY c"
        )
    finally:
        await connection.execute("DROP TABLE t")
    return list(rows)


KINDS = {
    ("int4", "number 7"): st.integers(-(2**31), 2**31 - 1),
    ("int8", "number 1000"): st.integers(-(2**63), 2**63 - 1),
    ("int2", "number 1"): st.integers(-(2**15), 2**15 - 1),
    ("numeric", "number 0.25"): st.decimals(-(10**12), 10**12, places=5),
    ("date", "date 10"): st.dates(),
    ("timestamp", "date 2"): st.datetimes(),
}


@pytest.mark.parametrize(("kind", "rule"), KINDS)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_noise_keeps_order_and_equality_and_moves_every_value(
    new_database: NewDatabase, kind: str, rule: str, data: Any
) -> None:
    """Noise that swaps two neighbours, lets one stay, goes further than it says or leaves the type."""
    drawn = data.draw(st.lists(KINDS[kind, rule], min_size=20, max_size=60))
    # Neighbours are where an order breaks.
    near = [str(each) for each in drawn] + ([str(n) for n in range(40)] if kind.startswith("int") else [])
    async with session(await new_database(), plain=True) as connection:
        rows = await axis(connection, kind, rule, near)
    for one, other in pairwise(rows):
        assert one["m"] <= other["m"]
        if one["c"] == other["c"]:
            assert one["m"] == other["m"]
    limit = Decimal(rule.split()[1])
    for row in rows:
        if kind in ("date", "timestamp"):
            assert 0 < (row["c"] - row["m"]).total_seconds() <= float(limit) * 86_400
        elif abs(row["c"]) < 2**15 - 8:
            assert 0 < row["m"] - row["c"] <= limit


async def test_a_unique_number_is_moved_with_all_others(new_database: NewDatabase) -> None:
    """Noise that brings two values of a unique column together, also one of several columns."""
    production, staging = await new_database(), await new_database()
    table = "CREATE TABLE t (id int, day date, n int UNIQUE, born date, UNIQUE (id, day), PRIMARY KEY (id));"
    for url in (production, staging):
        async with session(url) as connection:
            await connection.execute(table)
    schema = """model t {
      id Int @id
      /// @mask date 30
      day DateTime @db.Date
      /// @mask number 50
      n Int
      /// @mask date 300
      born DateTime @db.Date
    }"""
    async with session(production) as connection:
        await connection.execute(
            "INSERT INTO t SELECT n, '2020-01-01'::date + n, n, '2020-01-01'::date + n"
            " FROM generate_series(1, 400) n"
        )
    await masked_copy(production, staging, read_models({"s.prisma": schema}))
    async with session(staging) as connection:
        row = await connection.fetchrow(
            "SELECT count(DISTINCT day - id) AS days, count(DISTINCT n) AS n, min(n - id) AS least,"
            " max(n - id) AS most, count(DISTINCT born - id) AS born FROM t"
        )
    assert (row["days"], row["n"]) == (1, 400)
    assert row["least"] == row["most"] > 0
    assert row["born"] > 1


async def test_a_unique_beginning_moves_with_its_end_also_where_others_refer_to_it(
    new_database: NewDatabase,
) -> None:
    """A unique column moves by one amount; an end beside it that moved by noise came before it."""
    production, staging = await new_database(), await new_database()
    tables = """
        CREATE TABLE t (begins timestamp PRIMARY KEY, ends timestamp, CHECK (ends >= begins));
        CREATE TABLE u (begins timestamp REFERENCES t, seen timestamp, CHECK (seen >= begins));
    """
    for url in (production, staging):
        async with session(url) as connection:
            await connection.execute(tables)
    schema = """model t {
      /// @mask date 90
      begins DateTime @id
      /// @mask date 90
      ends DateTime
    }
    model u {
      begins DateTime
      /// @mask date 90
      seen DateTime
    }"""
    async with session(production) as connection:
        await connection.execute(
            "INSERT INTO t SELECT b, b + '1 hour' FROM generate_series(1, 400) n,"
            " LATERAL (SELECT '2020-01-01'::timestamp + n * '1 day'::interval AS b);"
            " INSERT INTO u SELECT begins, begins FROM t"
        )
    await masked_copy(production, staging, read_models({"s.prisma": schema}))
    async with session(staging) as connection:
        took = await connection.fetch("SELECT DISTINCT ends - begins AS took FROM t")
        seen = await connection.fetch("SELECT DISTINCT seen - begins AS after FROM u")
    assert [str(each["took"]) for each in took] == ["1:00:00"]
    assert [str(each["after"]) for each in seen] == ["0:00:00"]


async def test_an_enum_keeps_apart_what_differs_and_no_label_stays(new_database: NewDatabase) -> None:
    labels = [f"l{number}" for number in range(5)]
    column = Column(
        "", "t", "c", False, "text", False, False, False, "text", "E", False, 0, labels=tuple(labels)
    )
    async with session(await new_database()) as connection:
        for salt in "abcdef":
            rows = await connection.fetch(
                f"SELECT c, {expression(column, 'enum', salt)} AS m FROM unnest($1::text[]) c", labels
            )
            assert sorted(row["m"] for row in rows) == labels
            assert all(row["m"] != row["c"] for row in rows)


async def test_a_foreign_key_follows_what_it_refers_to(new_database: NewDatabase) -> None:
    """A reference without a rule that is copied as it is, though its key is masked."""
    production, staging = await new_database(), await new_database()
    for url in (production, staging):
        async with session(url) as connection:
            await connection.execute(
                "CREATE TABLE people (number numeric PRIMARY KEY);"
                "CREATE TABLE cars (id serial PRIMARY KEY, owner numeric REFERENCES people)"
            )
    async with session(production) as connection:
        await connection.execute(
            "INSERT INTO people VALUES (4711.0); INSERT INTO cars (owner) VALUES (4711.00)"
        )
    schema = (
        "model people {\n/// @mask hash\nnumber Decimal @id\n}\nmodel cars {\nid Int @id\nowner Decimal?\n}"
    )
    await masked_copy(production, staging, read_models({"s.prisma": schema}))
    async with session(staging) as connection:
        assert await connection.fetchval("SELECT count(*) FROM cars JOIN people ON owner = number") == 1
        assert await connection.fetchval("SELECT number FROM people") != 4711
    with pytest.raises(Failure) as caught:
        await masked_copy(
            production, staging, read_models({"s.prisma": schema.replace("/// @mask hash", "")})
        )
    assert [each.subject for each in caught.value.outcome.findings] == ["people.number"]


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        *((rule, rule) for rule in RULES),
        ("date  030", "date 30"),
        ("number 5.50", "number 5.5"),
        ("json b,a,b", "json a,b"),
        ("keep as agreed", "keep"),
        *((said, None) for said in ("date", "date 0", "date 9999", "date 1.5", "date -3", "date 3 4")),
        *((said, None) for said in ("number", "number 0", "number 0.0", "number 1e9", "number NaN")),
        *((said, None) for said in ("json a b", "json ,", "", "hush", "number ٣")),
    ],
)
def test_a_rule_is_read_in_one_spelling_and_noise_of_nothing_is_none(said: str, rule: str | None) -> None:
    assert parse_rule(said) == rule
