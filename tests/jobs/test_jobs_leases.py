"""Leases: one worker at a time, taken over after a crash, kept alive by heartbeats."""

from datetime import timedelta

import pytest
from time_machine import travel

from shared.clock import utc_now
from shared.contracts.facts import Facts
from shared.contracts.stages import Errored, StageBegun, StageFinished, Succeeded
from shared.errors import Stale
from shared.jobs.job import Job
from shared.jobs.journal import LeaseJournal
from shared.storage.tables import OutboxRow
from tests.jobs.job_world import COMMIT, DONE, Obedient, World, record, until


async def done(job: Job, task: object) -> Facts:
    return DONE


async def test_what_a_crashed_worker_held_is_taken_over_when_its_lease_has_run_out(world: World) -> None:
    await world.deliver(record())
    first = await world.lease("executor@dead", lease_s=0.2)
    generations: list[int] = []

    async def stage(job: Job, task: object) -> Facts:
        generations.append(job.generation)
        assert job.fencing_token > (first.key[1], first.generation)
        return DONE

    await world.worker(stage)
    await world.answers()
    assert generations == [2]


async def test_who_lost_the_lease_can_neither_act_nor_answer(world: World) -> None:
    await world.deliver(record())
    lost = await world.lease("executor@slow", lease_s=-1)
    await world.lease("executor@quick", lease_s=60)
    journal = LeaseJournal(world.database, lost)
    with pytest.raises(Stale):
        async with journal.effect("push"):
            pytest.fail("the effect happened")
    async with world.database.transaction() as tx:
        assert await tx.extend([lost], 60) == set()
    assert await journal.of_run() == []


async def test_a_worker_that_starts_again_takes_its_own_jobs_up_at_once(world: World) -> None:
    await world.deliver(record())
    await world.lease("executor@one", lease_s=3600)
    await world.worker(done, instance="one")
    (answer,) = await world.answers()
    assert answer.outcome == Succeeded(facts=DONE)


async def test_a_worker_that_stops_leaves_its_job_to_the_next_at_once(world: World) -> None:
    stage = Obedient()
    stopping = await world.worker(stage, instance="one", lease_s=3600)
    await world.deliver(record())
    await stage.begun.wait()
    await stopping.stop()
    assert stage.log == ["1 begins", "1 stopped"]
    await world.worker(done, instance="two")
    (answer,) = await world.answers()
    assert answer.worker == "executor@two"


async def test_heartbeats_keep_a_job_that_takes_longer_than_its_lease(world: World) -> None:
    stage, other = Obedient(), Obedient()
    await world.worker(stage, instance="one", lease_s=0.5)
    await world.deliver(record())
    await stage.begun.wait()
    await world.worker(other, instance="two", lease_s=0.5)
    first_lease = (await world.job(1)).lease_until
    assert first_lease is not None

    async def long_after() -> bool:
        async with world.database.transaction() as tx:
            return (tx.now - first_lease).total_seconds() > 0.5

    await until(long_after)
    stage.may_end.set()
    (answer,) = await world.answers()
    assert answer.worker == "executor@one"
    assert other.log == []
    assert (await world.job(1)).generation == 1


async def test_what_takes_longer_than_a_lease_is_said_to_have_begun_by_each_who_does_it(world: World) -> None:
    stage, after_it = Obedient(), Obedient()
    first = await world.worker(stage, instance="one", lease_s=0.3)
    await world.deliver(record())

    async def told() -> list[StageBegun]:
        rows = await world.sent()
        return [StageBegun.model_validate_json(row.body or b"") for row in rows]

    (begun,) = await until(told)
    assert (begun.worker, begun.fence, begun.generation) == ("executor@one", 1, 1)
    assert begun.identity() == f"{record().run_id}/1/1"
    await first.stop()
    await world.worker(after_it, instance="two", lease_s=0.3)

    async def told_twice() -> list[StageBegun]:
        return found if len(found := await told()) == 2 else []

    _, again = await until(told_twice)
    assert (again.worker, again.generation) == ("executor@two", 2)
    assert again.begun_at > begun.begun_at


async def test_work_stops_when_somebody_else_has_the_job(world: World) -> None:
    stage = Obedient()
    await world.worker(stage, instance="one", lease_s=0.5)
    await world.deliver(record())
    await stage.begun.wait()
    async with world.database.transaction() as tx:
        row = await tx.job(record().run_id, 1)
        assert row is not None
        row.generation += 1

    async def stopped() -> bool:
        return stage.log[1:2] == ["1 stopped"]

    await until(stopped)
    assert await world.answers_so_far() == []


async def test_a_successor_waits_for_a_crashed_predecessors_lease(world: World) -> None:
    await world.deliver(record(fence=1))
    await world.lease("executor@dead", lease_s=0.3)
    dead_until = (await world.job(1)).lease_until
    assert dead_until is not None
    await world.deliver(record(fence=2))
    begun: list[float] = []

    async def stage(job: Job, task: object) -> Facts:
        async with world.database.transaction() as tx:
            begun.append((tx.now - dead_until).total_seconds())
        return DONE

    await world.worker(stage)
    (answer,) = await world.answers()
    assert answer.fence == 2
    assert begun[0] > 0


async def test_a_stale_world_without_a_successor_is_an_error_not_silence(world: World) -> None:
    async def superseded(job: Job, task: object) -> Facts:
        raise Stale(f"the fence at {COMMIT} is newer")

    await world.worker(superseded)
    await world.deliver(record())
    (answer,) = await world.answers()
    assert isinstance(answer.outcome, Errored)
    assert "newer" in answer.outcome.reason


@pytest.mark.parametrize("wrong_by", [timedelta(hours=1), timedelta(hours=-1)])
async def test_a_machine_whose_clock_is_wrong_tells_the_databases_time(
    world: World, wrong_by: timedelta
) -> None:
    before = utc_now()
    with travel(wrong_by, tick=True):
        assert abs(utc_now() - before - wrong_by) < timedelta(minutes=1), "its own clock is wrong"
        stage = Obedient()
        await world.worker(stage, lease_s=0.5)
        await world.deliver(record())
        await stage.begun.wait()
        await until(world.sent)
        stage.may_end.set()

        async def both() -> list[OutboxRow]:
            return rows if len(rows := await world.sent()) == 2 else []

        first, second = await until(both)
    begun = StageBegun.model_validate_json(first.body or b"")
    answer = StageFinished.model_validate_json(second.body or b"")
    for told in (begun.begun_at, answer.started_at, answer.finished_at):
        assert before - timedelta(seconds=1) <= told <= utc_now()
