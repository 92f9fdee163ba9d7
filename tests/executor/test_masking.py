"""No original value of a masked column reaches staging, and what belonged together still does."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.executor.clients.masking import masked_copy
from services.executor.clients.postgres import session
from services.executor.clients.prisma import read_models
from shared.errors import Failure
from tests.executor.conftest import NewDatabase

TABLES = """
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TABLE users (id serial PRIMARY KEY, email varchar(40) UNIQUE NOT NULL, name text, phone text,
    moods mood[], aliases text[], details jsonb, loud text GENERATED ALWAYS AS (upper(name)) STORED,
    code uuid, plan text NOT NULL DEFAULT 'free');
CREATE TABLE letters (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    receiver varchar(40) NOT NULL REFERENCES users (email), body bytea);
CREATE TABLE log (n int);
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES (1);
    RETURN NEW; END $$;
CREATE TRIGGER shouting AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION shout();
"""
SCHEMA = """
enum mood {
  sad
  glad
}
model users {
  id      Int     @id
  /// @mask email
  email   String  @unique
  /// @mask name
  name    String?
  /// @mask null
  phone   String?
  /// @mask keep
  moods   mood[]
  /// @mask hash
  aliases String[]
  /// @mask hash
  details Json?
  /// @mask hash
  loud    String?
  /// @mask hash
  code    String? @db.Uuid
  /// @mask keep
  plan    String
}
model letters {
  id       BigInt @id
  /// @mask email
  receiver String
  /// @mask hash
  body     Bytes?
}
model log {
  /// @mask keep
  n Int
}
"""
INSERT = (
    "INSERT INTO users (email, name, phone, moods, aliases, details, code) VALUES"
    " ($1, $2, $2, '{sad,glad}', ARRAY[$2, NULL], jsonb_build_object('k', $2::text), gen_random_uuid())"
)


async def pair(new_database: NewDatabase, tables: str = TABLES) -> tuple[str, str]:
    production, staging = await new_database(), await new_database()
    for url in (production, staging):
        async with session(url) as connection:
            # Staging's types have other oids than production's, as they have in life.
            await connection.execute(("CREATE TABLE gone (); DROP TABLE gone;" * 5) + tables)
    return production, staging


WORDS = st.text(
    st.characters(min_codepoint=0xC0, max_codepoint=0x24F, categories=["L"]), min_size=3, max_size=9
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(people=st.lists(WORDS, min_size=1, max_size=8, unique=True))
async def test_no_original_value_reaches_staging(new_database: NewDatabase, people: list[str]) -> None:
    production, staging = await pair(new_database)
    async with session(production) as connection:
        for person in people:
            await connection.execute(INSERT, f"{person}@real.example", person)
            await connection.execute(
                "INSERT INTO letters (receiver, body) VALUES ($1, convert_to($2, 'UTF8'))",
                f"{person}@real.example",
                person,
            )
    copied = await masked_copy(production, staging, read_models({"s.prisma": SCHEMA}))
    assert copied.rows == {"users": len(people), "letters": len(people), "log": len(people)}
    assert copied.masked_columns == 8
    async with session(staging) as connection:
        seen = "\n".join(
            str(tuple(row))
            for row in await connection.fetch("SELECT u, l FROM users u JOIN letters l ON true")
        )
        joined = await connection.fetchval("SELECT count(*) FROM users JOIN letters ON receiver = email")
        bodies = await connection.fetch("SELECT convert_from(body, 'UTF8') FROM letters")
        next_id = await connection.fetchval("SELECT nextval('users_id_seq')")
        moods = await connection.fetch("SELECT DISTINCT moods::text, plan FROM users")
    assert joined == len(people)
    assert next_id == len(people) + 1
    assert [tuple(row) for row in moods] == [("{sad,glad}", "free")]
    for person in people:
        assert person.lower() not in seen.lower()
        assert all(person not in row[0] for row in bodies)


async def test_two_copies_share_no_masked_value(new_database: NewDatabase) -> None:
    production, first = await pair(new_database)
    _, second = await pair(new_database)
    async with session(production) as connection:
        await connection.execute(INSERT, "ann@real.example", "Ann")
    mails = []
    for staging in (first, second):
        await masked_copy(production, staging, read_models({"s.prisma": SCHEMA}))
        async with session(staging) as connection:
            mails.append(await connection.fetchval("SELECT email FROM users"))
    assert mails[0] != mails[1]
    assert all(mail.endswith("@example.invalid") for mail in mails)


@pytest.mark.parametrize(
    ("schema", "subjects"),
    [
        (SCHEMA.replace("/// @mask name", ""), ["users.name"]),
        (SCHEMA.replace("  /// @mask hash\n  details", "  details"), ["users.details"]),
        (SCHEMA.replace("  /// @mask hash\n  body", "  body"), ["letters.body"]),
        (SCHEMA.replace("  id      Int     @id\n", ""), ["users.id"]),
        (SCHEMA.replace("model log {\n  /// @mask keep\n  n Int\n}", ""), ["log.n"]),
        (SCHEMA.replace("keep\n  n Int", "name\n  n Int"), ["log.n"]),
        (SCHEMA.replace("/// @mask keep\n  n Int", "n Int"), ["log.n"]),
        (SCHEMA.replace("keep\n  plan", "null\n  plan"), ["users.plan"]),
        (SCHEMA.replace("/// @mask email\n  receiver", "/// @mask hash\n  receiver"), ["letters.receiver"]),
    ],
)
async def test_a_column_without_a_fitting_rule_stops_the_copy(
    new_database: NewDatabase, schema: str, subjects: list[str]
) -> None:
    production, staging = await pair(new_database)
    with pytest.raises(Failure) as caught:
        await masked_copy(production, staging, read_models({"s.prisma": schema}))
    assert [finding.subject for finding in caught.value.outcome.findings] == subjects
    assert all(finding.cure for finding in caught.value.outcome.findings)


async def test_masks_that_do_not_fit_a_constraint_are_told_and_do_not_hang(new_database: NewDatabase) -> None:
    production, staging = await pair(new_database, "CREATE TABLE t (c text CHECK (c LIKE 'x%'))")
    async with session(production) as connection:
        await connection.execute("INSERT INTO t SELECT 'x' || n FROM generate_series(1, 200000) n")
    models = read_models({"s.prisma": "model t {\n /// @mask hash\n c String\n}"})
    with pytest.raises(Failure, match="do not fit"):
        await masked_copy(production, staging, models)
