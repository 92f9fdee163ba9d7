"""A stage command becomes one job, whatever is repeated, late or superseded."""

import asyncio
import base64

from shared.contracts.envelope import receive, to_body, to_headers
from shared.contracts.facts import Facts
from shared.contracts.stages import Succeeded
from shared.jobs.job import Job
from shared.storage.tables import OutboxRow
from tests.jobs.job_world import DONE, OTHER_RUN, Obedient, World, as_sent, cancel, record, review, until


async def done(job: Job, task: object) -> Facts:
    return DONE


def header(row: OutboxRow, name: str) -> str:
    encoded = str(next(value for key, value in row.headers if key == name))
    return base64.b64decode(encoded).decode()


async def test_a_command_is_answered_with_what_the_stage_brought_back(world: World) -> None:
    await world.worker(done)
    await world.deliver(record())
    (answer,) = await world.answers()
    assert answer.outcome == Succeeded(facts=DONE)
    assert (answer.run_id, answer.stage, answer.attempt, answer.fence) == (record().run_id, "record", 1, 1)
    assert answer.worker == "executor@one"
    assert (await world.job(1)).state == "finished"


async def test_the_answer_names_the_command_as_its_cause(world: World) -> None:
    await world.worker(done)
    await world.deliver(record())
    await world.answers()
    (row,) = await world.sent()
    command = as_sent(record()).envelope
    assert header(row, "ce_causationid") == command.id
    assert header(row, "ce_correlationid") == command.correlation_id == record().run_id


async def test_a_repeated_command_is_answered_again_with_the_same_bytes(world: World) -> None:
    stage = Obedient()
    stage.may_end.set()
    await world.worker(stage)
    await world.deliver(record())
    await world.answers()
    await world.deliver(record())
    await world.deliver_alone(record())
    first, *others = await world.sent()
    assert len(others) == 2
    for other in others:
        assert other.body == first.body
        assert header(other, "ce_id") == header(first, "ce_id")
    assert stage.log == ["1 begins", "1 ends"]


async def test_what_is_repeated_beside_something_new_is_answered_again(world: World) -> None:
    await world.worker(done)
    await world.deliver(record(1))
    await world.answers(1)
    await world.deliver(record(2), record(1))
    assert sorted(answer.fence for answer in await world.answers(3)) == [1, 1, 2]


async def test_what_came_is_kept_as_it_came(world: World) -> None:
    """A field that a later planner says is there for a later worker too."""
    body = to_body(record()).replace(b"{", b'{"said_by_a_later_version": 1, ', 1)
    headers = to_headers(as_sent(record()).envelope)
    await world.deliver_received(receive(headers, body))
    async with world.database.transaction() as tx:
        [(kept,)] = await tx.fetch("select command::text from jobs")
    assert kept.encode() == body


async def test_a_command_that_is_repeated_while_its_work_goes_on_starts_nothing(world: World) -> None:
    stage = Obedient()
    await world.worker(stage)
    await world.deliver(record(), record())
    await stage.begun.wait()
    await world.deliver(record())
    stage.may_end.set()
    await world.answers()
    assert stage.log == ["1 begins", "1 ends"]


async def test_an_older_fence_than_the_newest_seen_is_ignored(world: World) -> None:
    await world.worker(done)
    await world.deliver(record(fence=7))
    await world.answers()
    await world.deliver(record(fence=6))
    async with world.database.transaction() as tx:
        assert [job.fence for job in await tx.jobs_of(record().run_id)] == [7]


async def test_a_newer_fence_begins_only_when_the_older_work_has_stopped(world: World) -> None:
    stage = Obedient()
    await world.worker(stage)
    await world.deliver(record(fence=1))
    await stage.begun.wait()
    stage.begun.clear()
    await world.deliver(record(fence=2))
    await stage.begun.wait()
    stage.may_end.set()
    (answer,) = await world.answers()
    assert answer.fence == 2
    assert stage.log == ["1 begins", "1 stopped", "2 begins", "2 ends"]
    assert (await world.job(1)).state == "cancelled"


async def test_another_runs_newer_stage_supersedes_too_but_its_review_disturbs_nobody(world: World) -> None:
    stage = Obedient()
    await world.worker(stage)
    await world.deliver(record(fence=1))
    await stage.begun.wait()
    stage.begun.clear()
    await world.deliver(review(fence=2))
    await stage.begun.wait()
    assert stage.log == ["1 begins", "2 begins"]
    assert (await world.job(1)).state == "leased"
    await world.deliver(record(fence=3, run=OTHER_RUN))

    async def superseded() -> bool:
        states = {(await world.job(1)).state, (await world.job(2, OTHER_RUN)).state}
        return states == {"cancelled"} and "3 begins" in stage.log

    await until(superseded)


async def test_a_late_stage_of_one_run_is_not_old_news_because_another_was_reviewed(world: World) -> None:
    await world.worker(done)
    await world.deliver(review(fence=5), record(fence=4))
    assert {answer.fence for answer in await world.answers(2)} == {4, 5}


async def test_projects_do_not_wait_for_each_other(world: World) -> None:
    stage = Obedient()
    await world.worker(stage)
    await world.deliver(record(of="acme"), record(of="beta", run=OTHER_RUN))

    async def both() -> bool:
        return len(stage.log) == 2

    await until(both)


async def test_a_cancel_stops_the_work_at_once_and_nothing_is_answered(world: World) -> None:
    stage = Obedient()
    await world.worker(stage, lease_s=600)
    await world.deliver(record())
    await stage.begun.wait()
    await world.deliver(cancel(record()))

    async def stopped() -> bool:
        return stage.log[-1] == "1 stopped" and (await world.job(1)).lease_until is None

    await until(stopped)
    assert (await world.job(1)).state == "cancelled"
    assert await world.sent() == []


async def test_a_cancel_before_the_work_began_prevents_it(world: World) -> None:
    await world.deliver(record(fence=1), cancel(record(fence=1)), record(fence=2))
    stage = Obedient()
    stage.may_end.set()
    await world.worker(stage)
    (answer,) = await world.answers()
    assert answer.fence == 2
    assert stage.log == ["2 begins", "2 ends"]


async def test_many_jobs_and_two_workers_do_each_once(world: World) -> None:
    seen: list[str] = []

    async def count(job: Job, task: object) -> Facts:
        seen.append(job.project.id)
        await asyncio.sleep(0)
        return DONE

    await world.worker(count, instance="one")
    await world.worker(count, instance="two")
    projects = [f"project-{number}" for number in range(20)]
    await world.deliver(
        *(
            record(of=name).model_copy(update={"run_id": f"run-{number:012x}"})
            for number, name in enumerate(projects)
        )
    )
    await world.answers(20)
    assert sorted(seen) == sorted(projects)
