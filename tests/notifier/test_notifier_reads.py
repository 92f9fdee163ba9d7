"""Inboxes and who is behind; and one release that concerns ten thousand Projects."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import create_async_engine

from services.notifier.store import TABLES
from shared.contracts.values import Actor
from shared.storage.connections import async_url
from shared.storage.tables import MESSAGE_TABLES
from tests.notifier.notifier_world import MIRA, Notifier, published, recorded, registered, withdrawn
from tests.support.keys import bearer

MANY = 10_000
PAT = Actor(id="pat@other.example", role="maintainer", projects=("other-portal",))


async def test_an_inbox_is_read_by_who_may_see_it(notifier: Notifier) -> None:
    await notifier.hear(published("1.2.5"), recorded(1, auth="1.2.4"), published("1.3.0"))
    everything = await notifier.read("/inbox/acme-portal", MIRA)
    assert [(one["version"], one["state"]) for one in everything] == [
        ("1.3.0", "open"),
        ("1.2.5", "superseded"),
    ]
    opened = await notifier.read("/inbox/acme-portal", MIRA, state="open")
    assert [one["version"] for one in opened] == ["1.3.0"]
    assert await notifier.read("/inbox/acme-portal", PAT) == 404
    assert await notifier.read("/inbox/unknown-portal") == 404
    assert await notifier.read("/inbox/acme-portal", state="lost") == 422


async def test_a_page_of_an_inbox_has_room_for_few_large_notifications(notifier: Notifier) -> None:
    """Two hundred that name a thousand versions each were read at once."""
    await notifier.hear(published("1.2.5"), recorded(1, auth="1.2.4"), published("1.3.0"))
    async with notifier.database.transaction() as tx:
        # Spaces, which JSON allows, are as good as what means something.
        large = "(notification::text || repeat(' ', 600000))::json"
        await tx.fetch(f"update notifications set notification = {large}")
    answer = await notifier.http.get("/inbox/acme-portal", headers=bearer(MIRA))
    assert [one["version"] for one in answer.json()] == ["1.3.0"]
    rest = await notifier.http.get(f"/inbox/acme-portal{answer.links['next']['url']}", headers=bearer(MIRA))
    assert [one["version"] for one in rest.json()] == ["1.2.5"]
    assert "next" not in rest.links


async def test_a_registered_project_has_an_empty_inbox(notifier: Notifier) -> None:
    await notifier.hear(registered("acme-portal", 1), registered("acme-portal", 2))
    assert await notifier.read("/inbox/acme-portal") == []


async def test_who_is_behind(notifier: Notifier) -> None:
    await notifier.hear(
        published("1.2.5", migrations=0, system="auth-system"),
        published("1.3.0", migrations=2),
        published("1.4.0", migrations=2),
        withdrawn("1.4.0", migrations=2),
        published("2.0.0", system="quote-system"),
        recorded(1, auth="1.2.4", quote="2.0.0"),
        recorded(1, "other-portal", auth="1.3.0", quote="1.9.0"),
    )
    rows = await notifier.read("/outdated")
    assert [(row["project"], row["system"], row["newest"], row["behind"]) for row in rows] == [
        ("acme-portal", "auth-system", "1.3.0", 2),
        ("other-portal", "quote-system", "2.0.0", 1),
    ]
    assert rows[0] == {
        "project": "acme-portal",
        "system": "auth-system",
        "pinned": "1.2.4",
        "newest": "1.3.0",
        "change": "minor",
        "migration_required": True,
        "required": False,
        "behind": 2,
        "signed": False,
    }
    assert await notifier.read("/outdated", MIRA) == rows[:1]
    assert await notifier.read("/outdated", project="other-portal") == rows[1:]
    assert await notifier.read("/outdated", MIRA, project="other-portal") == 404


@asynccontextmanager
async def counted(notifier: Notifier) -> AsyncIterator[list[str]]:
    """The statements that are executed meanwhile."""
    statements: list[str] = []

    def count(_: Any, __: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    engine = notifier.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", count)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", count)


async def test_one_release_reaches_ten_thousand_projects_by_a_few_statements(notifier: Notifier) -> None:
    await notifier.hear(published("1.2.4"), published("1.3.0"))
    numbered = "from generate_series(1, :many) n"
    async with notifier.database.transaction() as tx:
        for statement in (
            f"insert into inboxes select 'project-' || n, 0, 1 {numbered}",
            f"insert into pins select 'project-' || n, 'auth-system', '1.3.0' {numbered}",
        ):
            await tx.session.execute(text(statement), {"many": MANY})
    async with counted(notifier) as statements:
        await notifier.hear(published("1.4.0"))
        await notifier.tell_rest()
        assert len(await notifier.sent()) == MANY
        await notifier.hear(published("1.5.0"))
        await notifier.tell_rest()
        assert len(await notifier.sent()) == 2 * MANY
    assert len(statements) < 50
    assert [one.supersedes for one in await notifier.told("project-77")] == [("1.4.0",)]


async def test_the_migrated_schema_is_the_one_that_the_code_expects(notifier_url: str) -> None:
    engine = create_async_engine(async_url(notifier_url))

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, [MESSAGE_TABLES, TABLES]))  # type: ignore[arg-type]

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()
