"""Which jobs go: of Runs that nothing can come back to, and with them all that they did."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from shared.contracts.stages import RunExecutorStage
from shared.jobs.pruning import ANSWERED_JOBS, RUNS_THAT_ARE_OVER
from shared.storage.pruning import Prune, Pruner
from tests.jobs.job_world import OTHER_RUN, RUN, World, record, review

KEEP = timedelta(days=180)
THIRD_RUN = "run-00000000cafe"


async def did(world: World, command: RunExecutorStage, *, days_ago: int, outcome: str = "succeeded") -> None:
    """The command was accepted and answered so long ago, and had one effect."""
    await world.deliver(command)
    async with world.database.transaction() as tx:
        about = {"run": command.run_id, "fence": command.fence, "days": days_ago, "outcome": outcome}
        await tx.session.execute(
            text(
                "update jobs set state = 'finished', accepted_at = now() - make_interval(days => :days),"
                " result = json_build_object('outcome', json_build_object('kind', cast(:outcome as text)))"
                " where run_id = :run and fence = :fence"
            ),
            about,
        )
        await tx.session.execute(
            text(
                "insert into effects (run_id, stage, attempt, fence, generation, name, production, detail,"
                " intended_at) values (:run, 'record', 1, :fence, 1, 'push', true, '',"
                " now() - make_interval(days => :days))"
            ),
            about,
        )


async def left(world: World, prune: Prune = RUNS_THAT_ARE_OVER) -> list[tuple[str, int]]:
    """Run and fence of the jobs that stay; their effects must be those that stay."""
    await Pruner(world.database, [prune], KEEP).prune()
    async with world.database.transaction() as tx:
        jobs = await tx.fetch("select run_id, fence from jobs order by fence")
        effects = await tx.fetch("select run_id, fence from effects order by fence")
    if prune is RUNS_THAT_ARE_OVER:
        assert [tuple(row) for row in jobs] == [tuple(row) for row in effects]
    return [(run, fence) for run, fence in jobs]


async def test_a_run_goes_whole_once_a_later_one_was_recorded(world: World) -> None:
    await did(world, record(1), days_ago=400)
    await did(world, record(2), days_ago=390)
    assert await left(world) == [(RUN, 1), (RUN, 2)], "it may be rolled back years later"
    await did(world, record(3, run=OTHER_RUN), days_ago=2)
    assert await left(world) == [(OTHER_RUN, 3)]


@pytest.mark.parametrize("outcome", ["failed", "errored"])
async def test_one_that_was_not_recorded_is_none_to_follow(world: World, outcome: str) -> None:
    await did(world, record(1), days_ago=400)
    await did(world, record(2, run=OTHER_RUN), days_ago=300, outcome=outcome)
    assert await left(world) == [(RUN, 1), (OTHER_RUN, 2)]


async def test_another_projects_run_is_none_to_follow(world: World) -> None:
    await did(world, record(1), days_ago=400)
    await did(world, record(2, run=OTHER_RUN, of="globex"), days_ago=2)
    assert await left(world) == [(RUN, 1), (OTHER_RUN, 2)]


async def test_a_run_stays_whole_while_one_of_its_commands_can_come_again(world: World) -> None:
    await did(world, record(1), days_ago=400)
    await did(world, record(2), days_ago=100)
    await did(world, record(3, run=OTHER_RUN), days_ago=2)
    assert await left(world) == [(RUN, 1), (RUN, 2), (OTHER_RUN, 3)]


async def test_a_plan_that_nobody_started_goes_by_its_age(world: World) -> None:
    await did(world, review(1, run=RUN), days_ago=181)
    await did(world, review(2, run=OTHER_RUN), days_ago=179)
    await world.deliver(review(3, run=THIRD_RUN))
    async with world.database.transaction() as tx:
        await tx.session.execute(
            text("update jobs set accepted_at = now() - interval '900 days' where fence = 3")
        )
    async with world.database.transaction() as tx:
        await tx.session.execute(text("delete from effects"))
    await Pruner(world.database, [RUNS_THAT_ARE_OVER], KEEP).prune()
    async with world.database.transaction() as tx:
        jobs = await tx.fetch("select fence from jobs order by fence")
    assert [fence for (fence,) in jobs] == [2, 3], "what waits is never too old"


async def test_stages_that_change_nothing_go_by_their_age(world: World) -> None:
    await did(world, record(1), days_ago=181)
    await did(world, record(2), days_ago=179)
    await world.deliver(record(3, run=OTHER_RUN))
    assert await left(world, ANSWERED_JOBS) == [(RUN, 2), (OTHER_RUN, 3)]
