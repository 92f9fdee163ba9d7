"""Everything that Runs will need is asked before the first of them, all at once, each with its cure."""

from dataclasses import replace
from pathlib import Path

from services.executor.clients.postgres import session
from services.executor.prerequisites import missing
from shared.clients.secrets import Secrets
from shared.contracts.stages import Finding
from tests.executor.conftest import NewDatabase
from tests.executor.project_world import make_world


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
