"""Whatever a column's type, what a person may have written stands in no staging database without a rule."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.executor.clients.mask_rules import Column, expression
from services.executor.clients.masking import masked_copy
from services.executor.clients.postgres import session
from services.executor.clients.prisma import read_models
from shared.errors import Failure
from shared.prisma.mask_words import MaskRule
from tests.executor.conftest import NewDatabase

TYPES = """
CREATE TYPE address AS (street text, number int);
CREATE DOMAIN nickname AS text;
CREATE DOMAIN pet_name AS nickname;
CREATE DOMAIN settings AS jsonb;
CREATE TYPE words AS RANGE (subtype = text);
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
"""
PERSONAL = (
    *("text", "varchar(9)", "char(9)", "name", "text[]", "json", "jsonb", "jsonb[]", "xml", "bytea", "inet"),
    *("cidr", "macaddr", "tsvector", "tsquery", "bit(9)", "varbit", "point", "polygon", "address"),
    *("address[]", "nickname", "nickname[]", "pet_name", "settings", "words"),
)
COUNTED = (
    *("int", "bigint", "numeric", "real", "money", "date", "timestamptz", "interval", "uuid"),
    *("int[]", "uuid[]", "mood", "mood[]", "positive", "positive[]", "int4range", "tstzmultirange"),
)
PLAIN = ("boolean", "boolean[]")


async def test_every_type_but_booleans_needs_a_rule_and_all_are_named_at_once(
    new_database: NewDatabase,
) -> None:
    url = await new_database()
    kinds = [*PERSONAL, *COUNTED, *PLAIN]
    columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(kinds))
    fields = "\n".join(f'  c{number} Unsupported("any")?' for number in range(len(kinds)))
    async with session(url) as connection:
        await connection.execute(f"{TYPES} CREATE TABLE t ({columns})")
    with pytest.raises(Failure) as caught:
        await masked_copy(url, url, read_models({"s.prisma": f"model t {{\n{fields}\n}}"}))
    findings = caught.value.outcome.findings
    assert [each.subject for each in findings] == [
        f"t.c{number}" for number in range(len(kinds) - len(PLAIN))
    ]
    assert all("s.prisma, model t, write above c" in each.cure for each in findings)
    assert findings[PERSONAL.index("text")].cure.endswith("/// @mask email|name|phone|hash|uuid|null|keep")
    assert findings[PERSONAL.index("jsonb")].cure.endswith("/// @mask email|name|phone|hash|json|null|keep")
    assert findings[PERSONAL.index("point")].cure.endswith("/// @mask hash|null|keep")
    assert findings[PERSONAL.index("words")].cure.endswith("/// @mask null|keep")
    assert findings[kinds.index("date")].cure.endswith("/// @mask hash|date 30|null|keep")
    assert findings[kinds.index("positive[]")].cure.endswith("/// @mask hash|number 10|null|keep")
    assert findings[kinds.index("mood")].cure.endswith("/// @mask enum|null|keep")


async def test_a_reference_that_ends_at_no_rule_needs_one_of_its_own(new_database: NewDatabase) -> None:
    """Catches addresses copied as they are: a foreign key to itself, in a ring, or to a generated column."""
    production, staging = await new_database(), await new_database()
    for url in (production, staging):
        async with session(url) as connection:
            await connection.execute(
                "CREATE TABLE alone (email text PRIMARY KEY REFERENCES alone);"
                "CREATE TABLE left_ (email text PRIMARY KEY); CREATE TABLE right_ (email text PRIMARY KEY"
                " REFERENCES left_ DEFERRABLE INITIALLY DEFERRED);"
                "ALTER TABLE left_ ADD FOREIGN KEY (email) REFERENCES right_ DEFERRABLE INITIALLY DEFERRED;"
                "CREATE TABLE further (id int PRIMARY KEY, email text REFERENCES left_);"
                "CREATE TABLE made (id int PRIMARY KEY,"
                " low text GENERATED ALWAYS AS (id || '@example') STORED UNIQUE);"
                "CREATE TABLE follows (id int PRIMARY KEY, low text REFERENCES made (low));"
                # These end where nobody's words are, so they need none.
                "CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree);"
                "CREATE TABLE leaf (id int PRIMARY KEY REFERENCES tree, twin int REFERENCES leaf)"
            )
    async with session(production) as connection:
        await connection.execute(
            "INSERT INTO alone VALUES ('ann@example'); BEGIN; INSERT INTO left_ VALUES ('ann@example');"
            "INSERT INTO right_ VALUES ('ann@example'); COMMIT"
        )
    schema = "".join(
        f"model {table} {{\n{fields}}}\n"
        for table, fields in {
            **dict.fromkeys(("alone", "left_", "right_"), "email String @id\n"),
            "further": "id Int @id\nemail String?\n",
            "made": "id Int @id\nlow String?\n",
            "follows": "id Int @id\nlow String?\n",
            "tree": "id Int @id\nparent Int?\n",
            "leaf": "id Int @id\ntwin Int?\n",
        }.items()
    )
    with pytest.raises(Failure) as caught:
        await masked_copy(production, staging, read_models({"s.prisma": schema}))
    lacking = ["alone.email", "follows.low", "further.email", "left_.email", "right_.email"]
    assert [each.subject for each in caught.value.outcome.findings] == lacking

    said = schema.replace("email String", "/// @mask email\nemail String").replace(
        "model follows {\nid Int @id\n", "model follows {\nid Int @id\n/// @mask null\n"
    )
    await masked_copy(production, staging, read_models({"s.prisma": said}))
    async with session(staging) as connection:
        rows = await connection.fetch(
            "SELECT email FROM alone UNION ALL SELECT email FROM left_ UNION ALL SELECT email FROM right_"
        )
    assert len(rows) == 3
    assert "ann@example" not in {row["email"] for row in rows}


SCALARS = st.none() | st.booleans() | st.integers(-9, 9**20) | st.floats(-1e9, 1e9) | st.text(max_size=6)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.just("kept") | st.text(max_size=6), inner, max_size=3)
    ),
)


def shape(value: Any) -> Any:
    match value:
        case None | bool():
            return value
        case int() | float():
            return 0
        case str():
            return "masked"
        case list():
            return [shape(each) for each in value]
        case _:
            return {hashed(key): shape(each) for key, each in value.items()}


def hashed(key: str) -> str:
    if key == "kept":
        return key
    said = f"a salt{json.dumps(key, ensure_ascii=False)}: "
    return hashlib.sha256(said.encode()).hexdigest()[:16]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=st.lists(DOCUMENTS, min_size=30, max_size=30))
async def test_the_rule_json_keeps_a_documents_shape_and_declared_keys_and_nothing_else(
    new_database: NewDatabase, documents: list[Any]
) -> None:
    # PostgreSQL's jsonb takes neither of these.
    texts = [json.dumps(each).replace(r"\u0000", "0") for each in documents if "\\ud" not in json.dumps(each)]
    async with session(await new_database()) as connection:
        masked = await connection.fetch(
            f"SELECT {masking('jsonb', 'json kept')} FROM unnest($1::text[]::jsonb[]) c", texts
        )
    assert [json.loads(row[0]) for row in masked] == [shape(json.loads(text)) for text in texts]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.text("0123456789+ -", min_size=3, max_size=16), min_size=2, max_size=9, unique=True)
)
async def test_the_rule_phone_gives_each_number_one_that_nobody_has(
    new_database: NewDatabase, numbers: list[str]
) -> None:
    async with session(await new_database()) as connection:
        masked = await connection.fetch(
            f"SELECT {masking('text', 'phone')} FROM unnest($1::text[]) c", numbers * 2
        )
    found = [row[0] for row in masked]
    assert found[: len(numbers)] == found[len(numbers) :]
    assert len(set(found)) == len(numbers)
    assert all(len(each) == 14 and each.startswith("+999") and each[1:].isdigit() for each in found)


def masking(kind: str, rule: MaskRule) -> str:
    """The SQL that masks a column `c` of that type."""
    column = Column(
        schema="public",
        table="t",
        column="c",
        required=False,
        type=kind,
        generated=False,
        text_only=False,
        many=False,
        kind=kind,
        category="S" if kind == "text" else "U",
        partitioned=False,
        bytes=0,
    )
    return expression(column, rule, "a salt")
