"""Writing a table at once: what is written in the end is what one row after another would have left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.replay.bulk import Newest, copy_rows, drop_indexes, make_indexes
from tests.conftest import PostgresServer

CHUNKS = st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5))), max_size=5)
"""Keys with their revisions; after each chunk what is held is written."""


@pytest.fixture(scope="module")
async def connection(postgres: PostgresServer) -> AsyncIterator[Any]:
    postgres.create_database("written_at_once")
    connection = await asyncpg.connect(postgres.url("written_at_once"))
    await connection.execute("create table told (key text primary key, revision bigint, said text)")
    await connection.execute("create index told_by_revision on told (revision)")
    yield connection
    await connection.close()


@settings(max_examples=40)
@given(CHUNKS)
async def test_of_each_key_the_newest_stands(connection: Any, chunks: list[list[tuple[str, int]]]) -> None:
    await connection.execute("truncate told")
    again = await drop_indexes(connection, "told")
    newest: Newest[str, str] = Newest(
        *("told", ("key", "revision", "said"), "key", "revision desc"),
        lambda key, revision, said: (key, revision, said),
    )
    expected: dict[str, int] = {}
    for chunk in chunks:
        for key, revision in chunk:
            newest.hold(key, revision, f"{key} {revision}", 10)
            expected[key] = max(revision, expected.get(key, 0))
        assert newest.bytes_ == 10 * len({key for key, _ in chunk})
        await newest.write(connection)
        assert newest.bytes_ == 0
    newest.hold("z", 1, "z 1", 10)
    expected["z"] = 1
    await newest.settle(connection, again)
    assert newest.bytes_ == 0
    rows = await connection.fetch("select key, revision, said from told")
    assert {key: (revision, said) for key, revision, said in rows} == {
        key: (revision, f"{key} {revision}") for key, revision in expected.items()
    }


@pytest.mark.parametrize("twice", [False, True])
async def test_keys_are_made_again_and_of_what_came_twice_the_best_is_kept(
    connection: Any, twice: bool
) -> None:
    await connection.execute("truncate told")
    before = await connection.fetch("select indexdef from pg_indexes where tablename = 'told' order by 1")
    async with connection.transaction():
        again = await drop_indexes(connection, "told")
        rows = [("a", 1, "poor"), ("b", 1, "good")]
        await copy_rows(connection, "told", ("key", "revision", "said"), rows)
        if twice:
            more = [("a", 1, "good"), ("a", 1, "poor"), ("b", 1, "poor")]
            await copy_rows(connection, "told", ("key", "revision", "said"), more)
        await make_indexes(connection, "told", again, "key", "said = 'poor'")
    kept = await connection.fetch("select key, said from told order by 1")
    assert [tuple(row) for row in kept] == [("a", "good" if twice else "poor"), ("b", "good")]
    assert before == await connection.fetch(
        "select indexdef from pg_indexes where tablename = 'told' order by 1"
    )
