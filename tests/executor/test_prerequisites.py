"""Everything that Runs will need is asked before the first of them, all at once, each with its cure."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from services.executor.api import Asking
from services.executor.clients.postgres import session
from services.executor.prerequisites import missing, pushable
from shared.clients.git import Git, RefUpdate
from shared.clients.secrets import Secrets
from shared.contracts.projects import Project
from shared.contracts.stages import Finding
from shared.errors import Reject, Retry
from tests.executor.conftest import NewDatabase
from tests.executor.project_world import World, make_world
from tests.registry.registry_world import project
from tests.support.scopes import LOCAL


def said(findings: list[Finding]) -> list[str]:
    assert all(finding.cure for finding in findings)
    return [f"{finding.subject}: {finding.detail}" for finding in findings]


async def test_all_that_is_missing_is_said_at_once(tmp_path: Path, new_database: NewDatabase) -> None:
    world = await make_world(tmp_path, new_database)
    # Others' Runs may have left some on the server of the tests.
    of_runs = (
        "SELECT array_agg(datname ORDER BY datname) FROM pg_database WHERE datname ~ '_run_[0-9a-f]{12}$'"
    )
    before = await world.value(world.production, of_runs)
    assert said(await missing(world.project, world.tools)) == []
    left = await world.clone.ref("refs/upgradepath/adoption")
    assert left is None, "the probe of the repository stays behind"

    without = replace(world.tools, secrets=Secrets(None, {}))
    found = await missing(world.project, without)
    assert said(found)
    assert [finding.subject for finding in found] == [
        "environments.production.database",
        "environments.production.variables.HOSTING_ROOT",
        "environments.staging.database",
        "environments.staging.variables.HOSTING_ROOT",
    ]

    # A change that no migration made: the third stage would stop there.
    async with session(world.production) as connection:
        await connection.execute("ALTER TABLE users ADD COLUMN by_hand int")
    (only,) = said(await missing(world.project, world.tools))
    assert "by_hand" in only
    async with session(world.production) as connection:
        await connection.execute("ALTER TABLE users DROP COLUMN by_hand")
        await connection.execute("CREATE SCHEMA prisma_contract CREATE TABLE ledger ()")
        await connection.execute("ALTER TABLE users ADD COLUMN again int")
    (first, *_) = said(await missing(world.project, world.tools))
    assert "Prisma 8 owns this database" in first
    assert await world.value(world.production, of_runs) == before


async def test_a_repository_must_take_a_deploy(tmp_path: Path, new_database: NewDatabase) -> None:
    world = await make_world(tmp_path, new_database)
    checkout = tmp_path / "checkout"
    await world.clone.export(world.base, checkout)
    (checkout / ".git").symlink_to(world.project.repository)
    project = world.project.model_copy(update={"repository": str(checkout)})
    (only,) = said(await missing(project, world.tools))
    assert only == f"repository: {checkout} is a checkout, whose branch nobody else may move"
    gone = world.project.model_copy(update={"repository": str(tmp_path / "nothing")})
    (first, *_) = said(await missing(gone, world.tools))
    assert first.startswith("repository: git fetch ended")


class Raced(Git):
    """A clone beside which another worker asks the same: it pushes first."""

    async def push(self, updates: Sequence[RefUpdate | tuple[str, str | None, str | None]]) -> None:
        head = await self.head("main")
        assert head is not None
        await super().push([RefUpdate("refs/upgradepath/adoption", await self.parent(head), None)])
        await super().push(updates)


async def test_a_push_beside_another_is_a_conflict_and_no_error_of_ours(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    """Would catch an answer 500 where two workers try at the same moment whether they may push."""
    world = await make_world(tmp_path, new_database)
    raced = await Raced.open(world.project.repository, tmp_path / "raced", LOCAL)
    await world.clone.push([RefUpdate("refs/heads/main", await child_of(world), world.base)])
    with pytest.raises(Reject) as refused:
        await pushable(world.project, world.tools, raced)
    assert [(each.kind, each.cure) for each in refused.value.refusals] == [("conflict", "ask again")]


async def child_of(world: World) -> str:
    return await world.clone.commit(world.base, [world.base], "another", when=1)


async def test_one_project_keeps_no_other_waiting_and_waits_no_longer_than_a_person() -> None:
    """Would catch places that one partner takes all, and a wait for a place that nobody bounds."""
    first, second = (project().model_copy(update={"id": each}) for each in ("acme-portal", "beta-portal"))
    begun: list[str] = []

    async def hang(asked: Project) -> list[Finding]:
        begun.append(asked.id)
        await asyncio.Event().wait()
        raise AssertionError

    asking = Asking(hang, within_s=0.2)
    people = [(first, "mira"), (first, "mia"), (first, "mona"), (second, "mira"), (second, "ben")]
    answers = await asyncio.gather(*(asking.missing(*each) for each in people), return_exceptions=True)
    assert begun == ["acme-portal", "beta-portal"]
    late = [each for each in answers if isinstance(each, list)]
    assert [finding.subject for findings in late for finding in findings] == ["environments"] * 2
    assert all(isinstance(each, list | Retry) for each in answers)


async def test_a_busy_project_is_told_so_and_the_others_are_served() -> None:
    """Would catch a queue of one Project that grows without end."""
    release = asyncio.Event()

    async def wait(asked: Project) -> list[Finding]:
        await release.wait()
        return []

    asking = Asking(wait)
    mine = [asyncio.create_task(asking.missing(project(), f"m{number}")) for number in range(6)]
    other = asyncio.create_task(asking.missing(project().model_copy(update={"id": "beta-portal"}), "ben"))
    done, _ = await asyncio.wait(mine, return_when=asyncio.FIRST_COMPLETED)
    assert all(isinstance(each.exception(), Retry) for each in done)
    release.set()
    assert await other == []
    assert [each for each in await asyncio.gather(*mine, return_exceptions=True) if each == []] == [[]] * 4
