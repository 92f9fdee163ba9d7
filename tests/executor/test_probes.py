"""What is foretold of a migration is what happens when it runs, and asking changes nothing."""

import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.executor.clients.postgres import create_database, drop_database, session
from services.executor.clients.probes import Answers, ask
from shared.contracts.impact import Verdict
from shared.sql.script import Statement, read_statements
from tests.conftest import PostgresServer

BEFORE = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE teams (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (
    id int PRIMARY KEY, email text, name varchar(20), team int, age text, big bigint, mood mood
);
INSERT INTO teams SELECT n, 'team ' || n FROM generate_series(1, 3) n;
INSERT INTO users
    SELECT n, CASE WHEN n % 4 > 0 THEN 'u' || n || '@x.example' END,
    CASE WHEN n < 3 THEN 'Ann' ELSE 'U' || n END,
    CASE WHEN n = 8 THEN 99 ELSE n % 3 + 1 END, CASE WHEN n = 5 THEN 'old' ELSE n::text END, n::bigint << 30,
    CASE WHEN n = 1 THEN 'bad' ELSE 'good' END::mood
    FROM generate_series(1, 8) n;
"""
FAILS: Verdict = "would fail"


@pytest.fixture(scope="module")
async def world(postgres: PostgresServer) -> AsyncIterator[str]:
    """A database with rows, which every test leaves as it was."""
    await create_database(postgres.url(), "foretold")
    async with session(postgres.url("foretold")) as connection:
        await connection.execute(BEFORE)
    yield postgres.url("foretold")
    await drop_database(postgres.url(), "foretold")


def verdicts(answers: Answers) -> list[tuple[Verdict, int | None]]:
    return [(probe.verdict, probe.rows) for probes in answers.probes for probe in probes]


async def runs(url: str, statements: tuple[Statement, ...]) -> int | None:
    """The place of the statement that fails; none when all of them run. Nothing is kept."""
    async with session(url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            for place, statement in enumerate(statements):
                try:
                    await connection.execute(statement.text)
                except asyncpg.PostgresError:
                    return place
        finally:
            await transaction.rollback()
    return None


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("ALTER TABLE users ALTER email SET NOT NULL", [(FAILS, 2)]),
        ("UPDATE users SET email = '' WHERE email IS NULL; ALTER TABLE users ALTER email SET NOT NULL",
         [("writes", 2), ("fits", 0)]),
        ("UPDATE users SET email = '' WHERE id = 4; ALTER TABLE users ALTER email SET NOT NULL",
         [("writes", 1), (FAILS, 1)]),
        ("DELETE FROM users WHERE email IS NULL; ALTER TABLE users ALTER email SET NOT NULL",
         [("loses", 2), ("fits", 0)]),
        ("UPDATE users u SET email = t.name FROM teams t WHERE t.id = u.team AND u.email IS NULL;"
         " ALTER TABLE users ALTER email SET NOT NULL", [("writes", 1), (FAILS, 1)]),
        ("DELETE FROM users USING teams t WHERE t.id = team; ALTER TABLE users ALTER email SET NOT NULL",
         [("loses", 7), (FAILS, 1)]),
        ("ALTER TABLE users ADD status text DEFAULT 'a'; ALTER TABLE users ALTER status SET NOT NULL",
         [("fits", 0)]),
        ("ALTER TABLE users ADD status text; UPDATE users SET status = 'x' WHERE id > 1;"
         " ALTER TABLE users ALTER status SET NOT NULL", [("writes", 7), (FAILS, 1)]),
        ("ALTER TABLE users ADD status text NOT NULL", [(FAILS, 8)]),
        ("ALTER TABLE users RENAME email TO mail; ALTER TABLE users ALTER mail SET NOT NULL", [(FAILS, 2)]),
        ("ALTER TABLE users RENAME TO people; ALTER TABLE people ALTER email SET NOT NULL", [(FAILS, 2)]),
        ("CREATE UNIQUE INDEX i ON users (name)", [(FAILS, 1)]),
        ("CREATE UNIQUE INDEX i ON users (email)", [("fits", 0)]),
        ("CREATE UNIQUE INDEX i ON users (email) NULLS NOT DISTINCT", [(FAILS, 1)]),
        ("CREATE UNIQUE INDEX i ON users (name) WHERE id > 1", [("fits", 0)]),
        ("CREATE UNIQUE INDEX i ON users (lower(name), mood)", [("fits", 0)]),
        ("ALTER TABLE users ADD UNIQUE (team)", [(FAILS, 4)]),
        ("UPDATE users SET name = name || id; CREATE UNIQUE INDEX i ON users (name)",
         [("writes", 8), ("fits", 0)]),
        ("ALTER TABLE users ADD CONSTRAINT k FOREIGN KEY (team) REFERENCES teams", [(FAILS, 1)]),
        ("INSERT INTO teams (id, name) VALUES (99, 'x');"
         " ALTER TABLE users ADD CONSTRAINT k FOREIGN KEY (team) REFERENCES teams (id)", [("fits", 0)]),
        ("ALTER TABLE users ADD CONSTRAINT k FOREIGN KEY (team) REFERENCES teams (id) NOT VALID", []),
        ("ALTER TABLE users ADD CONSTRAINT k FOREIGN KEY (team) REFERENCES teams (id) NOT VALID;"
         " ALTER TABLE users VALIDATE CONSTRAINT k", [(FAILS, 1)]),
        ("ALTER TABLE users ADD CHECK (length(name) < 4)", [("fits", 0)]),
        ("ALTER TABLE users ADD CHECK (length(name) < 3)", [(FAILS, 2)]),
        ("ALTER TABLE users ALTER age TYPE int USING age::int", [(FAILS, None), ("unknown", None)]),
        ("UPDATE users SET age = '0' WHERE age = 'old'; ALTER TABLE users ALTER age TYPE int USING age::int",
         [("writes", 1), ("fits", None), ("fits", 0)]),
        ("ALTER TABLE users ALTER big TYPE int", [(FAILS, 7)]),
        ("ALTER TABLE users ALTER id TYPE bigint", []),
        ("ALTER TABLE users ALTER name TYPE varchar(2) USING left(name, 2)", [("fits", None), ("loses", 2)]),
        ("ALTER TABLE users ALTER name TYPE varchar(2)", [(FAILS, 2), ("fits", None), ("loses", 2)]),
        ("CREATE TYPE mood_new AS ENUM ('good');"
         " ALTER TABLE users ALTER mood TYPE mood_new USING (mood::text::mood_new)",
         [(FAILS, 1), ("fits", 0)]),
        ("CREATE TYPE mood_new AS ENUM ('fine', 'sad'); ALTER TABLE users ALTER mood TYPE mood_new"
         " USING CASE mood::text WHEN 'bad' THEN 'sad'::mood_new ELSE 'fine'::mood_new END",
         [("fits", 0), ("loses", 8)]),
        ("UPDATE users SET team = age::int", [("writes", 8), (FAILS, None)]),
        ("UPDATE users SET team = age::int WHERE age <> 'old'", [("writes", 7)]),
        ("ALTER TYPE mood ADD VALUE 'Ann'; UPDATE users SET mood = name::mood WHERE id < 3",
         [("writes", 2), ("unknown", None)]),
        ("CREATE TABLE n (id int PRIMARY KEY, v int NOT NULL);"
         " INSERT INTO n SELECT id, age::int FROM users", [(FAILS, None)]),
        ("ALTER TYPE mood ADD VALUE 'fine'; ALTER TABLE users ADD was mood DEFAULT 'good';"
         " ALTER TABLE users ALTER was SET NOT NULL", [("fits", 0)]),
        ("ALTER TABLE users DROP email; DROP TABLE teams", [("loses", 6), ("loses", 3)]),
        ("CREATE TABLE n (id int PRIMARY KEY, v text); INSERT INTO n SELECT id, email FROM users;"
         " ALTER TABLE n ALTER v SET NOT NULL", [(FAILS, 2)]),
        ("DO $$ BEGIN EXECUTE 'UPDATE users SET email = ' || quote_literal('x'); END $$;"
         " ALTER TABLE users ALTER email SET NOT NULL", [("unknown", None), ("unknown", None)]),
        ("ALTER TABLE nowhere ALTER email SET NOT NULL", []),
    ],
)  # fmt: skip
async def test_what_is_foretold_is_what_happens(
    world: str, sql: str, expected: list[tuple[Verdict, int | None]]
) -> None:
    statements = read_statements(sql)
    answers = await ask(world, statements)
    assert verdicts(answers) == expected, answers
    foretold = [
        place for place, probes in enumerate(answers.probes) if any(p.verdict == FAILS for p in probes)
    ]
    if ("unknown", None) not in expected and "nowhere" not in sql:
        assert await runs(world, statements) == (foretold[0] if foretold else None)
    async with session(world) as connection:
        assert await connection.fetchval("SELECT count(email) FROM users") == 6, "asking wrote something"


@pytest.mark.parametrize(
    ("sql", "question"),
    [
        ("CREATE UNIQUE INDEX ON users (email); UPDATE users SET email = 'x'",
         "whose (email) another row has"),
        ("UPDATE teams SET name = NULL", "is null"),
        ("UPDATE users SET team = 1 WHERE team > 3;"
         " ALTER TABLE users ADD FOREIGN KEY (team) REFERENCES teams (id);"
         " DELETE FROM teams WHERE id = 2", "whose (team) is not in teams"),
        ("ALTER TABLE teams ADD CHECK (id < 9); UPDATE teams SET id = id + 7", "that do not satisfy id < 9"),
    ],
)  # fmt: skip
async def test_a_write_must_keep_the_rules_that_stand(world: str, sql: str, question: str) -> None:
    statements = read_statements(sql)
    answers = await ask(world, statements)
    (probe,) = [probe for probe in answers.probes[-1] if probe.verdict == FAILS]
    assert question in probe.question
    assert await runs(world, statements) == len(statements) - 1


async def test_what_takes_too_long_is_not_known_and_no_value_is_told(world: str) -> None:
    slow = "UPDATE users SET email = (SELECT pg_sleep(1)::text); ALTER TABLE users ALTER email SET NOT NULL"
    answers = await ask(world, read_statements(slow), question_s=0.2)
    assert verdicts(answers) == [("writes", 8), ("unknown", None), ("unknown", None)]
    answers = await ask(
        world, read_statements("ALTER TABLE users ALTER age TYPE int USING age::int"), all_s=0
    )
    assert {probe.verdict for probe in answers.probes[0]} == {"unknown"}
    answers = await ask(world, read_statements("ALTER TABLE users ALTER age TYPE int USING age::int"))
    assert "old" not in answers.probes[0][0].detail
    assert "InvalidTextRepresentation" in answers.probes[0][0].detail


async def test_rows_are_told_of_every_table_that_is_touched(world: str) -> None:
    answers = await ask(
        world, read_statements("ALTER TABLE users ADD x int; CREATE TABLE n (id int); DROP TABLE teams")
    )
    assert answers.rows == {"users": 8, "teams": 3}


async def test_questions_of_the_same_rows_read_them_once(world: str) -> None:
    async with session(world) as connection:
        if connection.get_server_version().major < 15:
            pytest.skip("another process collects the figures there, and says them later")
    one = "ALTER TABLE users ALTER email SET NOT NULL"
    more = (
        "ALTER TABLE users ADD status text; UPDATE users SET status = 'x' WHERE id > 1;"
        " ALTER TABLE users ALTER status SET NOT NULL; ALTER TABLE users ADD CHECK (length(name) < 4);"
        " ALTER TABLE users DROP name; ALTER TABLE users ALTER email SET NOT NULL"
    )
    scans = [await scans_of(world, one), await scans_of(world, more)]
    assert scans[0] == scans[1] > 0


async def scans_of(url: str, sql: str) -> int:
    """How often the whole of users is read to answer what is asked."""
    query = "SELECT pg_stat_get_numscans('users'::regclass)"
    async with session(url) as connection:
        before = await connection.fetchval(query)
        await ask(url, read_statements(sql))
        # Whoever asked has told its figures when its session was over.
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        return int(await connection.fetchval(query)) - int(before)


STEPS = [
    "UPDATE users SET email = 'x' || id WHERE email IS NULL AND id > {n}",
    "UPDATE users SET team = {n} WHERE id % 2 = 0",
    "UPDATE users SET name = 'Z' || ({n} * id) % 3",
    "UPDATE users SET age = (SELECT count(*)::text FROM teams WHERE id <= {n}) WHERE age !~ '^[0-9]+$'",
    "UPDATE users u SET name = t.name FROM teams t WHERE t.id = u.team AND t.id = {n}",
    "DELETE FROM users WHERE id > {n} + 4",
    "DELETE FROM teams WHERE id = {n}",
    "INSERT INTO teams (id, name) SELECT id + 10, 'n' FROM users WHERE id > {n}",
    "ALTER TABLE users ADD c{n} int DEFAULT {n}",
    "ALTER TABLE users ADD d{n} text",
    "ALTER TABLE users ALTER email SET NOT NULL",
    "ALTER TABLE users ALTER age TYPE int USING age::int",
    "ALTER TABLE users ADD CHECK (length(name) < {n} + 2)",
    "ALTER TABLE users ADD FOREIGN KEY (team) REFERENCES teams (id)",
    "CREATE UNIQUE INDEX ON users (team, name)",
    "CREATE UNIQUE INDEX ON users (id, lower(email)) WHERE team > {n}",
]


async def test_random_scripts_are_foretold(world: str) -> None:
    """Sixty here; `python -m tests.executor.test_probes 1000 7` runs a thousand with the seed 7."""
    assert await compare(world, random.Random(1), 60) > 10


async def compare(url: str, chance: random.Random, scripts: int) -> int:
    """Random scripts: each is foretold and then run; how many failed, all of them foretold."""
    failed = 0
    for _ in range(scripts):
        steps = [
            step.format(n=chance.randint(1, 4)) for step in chance.choices(STEPS, k=chance.randint(1, 5))
        ]
        steps = list(dict.fromkeys(steps))
        statements = read_statements("; ".join(steps))
        answers = await ask(url, statements)
        known = all(probe.verdict != "unknown" for probes in answers.probes for probe in probes)
        failing = await runs(url, statements)
        foretold = [
            place for place, found in enumerate(answers.probes) if any(p.verdict == FAILS for p in found)
        ]
        first = foretold[0] if foretold else None
        if known or first is not None:
            assert first == failing, (steps, answers)
        failed += failing is not None
    return failed
