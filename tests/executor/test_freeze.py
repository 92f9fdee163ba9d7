"""A freeze at the executor: a deploy that has not written to production stops, one that has goes on."""

from dataclasses import replace

import pytest

from local.postgres import postgres_bin_folder
from services.executor.freeze import Freezer, keep
from services.executor.stages import deploy
from shared.contracts.freezes import Freeze, HoldDeploys
from shared.errors import Retry
from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database
from shared.storage.migrations import migrate_async
from tests.conftest import PostgresServer
from tests.executor.conftest import SavedWorlds
from tests.support.planner_examples import NOON

FREEZE = Freeze(by="sam@platform.example", reason="the database moves tonight", since=NOON)


async def nothing_unread() -> HoldDeploys | None:
    """Everything was read."""
    return None


async def test_the_newest_word_stands_in_whatever_order_they_come(postgres: PostgresServer) -> None:
    postgres.create_database("executor_freeze")
    url = postgres.url("executor_freeze")
    await migrate_async("executor", url)
    database = Database("executor", url, WorkerTransaction)
    ask = Freezer(database, nothing_unread)
    try:
        assert await ask() is None
        for freeze, revision, stands in (
            (FREEZE, 1, FREEZE),
            (None, 4, None),
            (FREEZE, 3, None),
            (FREEZE, 5, FREEZE),
        ):
            async with database.transaction() as tx:
                await keep(HoldDeploys(freeze=freeze, revision=revision), tx)
            assert await ask() == stands
    finally:
        await database.close()


async def test_a_frozen_deploy_writes_nothing_and_one_that_has_begun_goes_on(
    worlds: SavedWorlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPGRADES_POSTGRES_BIN", str(postgres_bin_folder()))
    world, candidate = await worlds.proven()
    standing: list[Freeze | None] = [FREEZE]

    async def ask() -> Freeze | None:
        return standing[0]

    tools = replace(world.tools, freeze=ask)
    head = await world.clone.head("main")
    with pytest.raises(Retry, match=r"frozen by sam@platform\.example: the database moves tonight"):
        await deploy.run(world.job("deploy"), world.deploy_task(candidate), tools)
    assert not [effect for effect in world.journal.effects if effect.production]
    assert await world.clone.head("main") == head

    async with world.journal.effect("expand", production=True):
        """It had begun when the freeze came."""
    facts = await deploy.run(world.job("deploy"), world.deploy_task(candidate), tools)
    assert await world.live() == facts.commit
