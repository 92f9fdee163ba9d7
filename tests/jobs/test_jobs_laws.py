"""Law: a batch of stage commands comes to the same as its commands do one by one, however it is cut."""

import itertools
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.contracts.stages import RunExecutorStage
from shared.contracts.values import Message
from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database
from tests.jobs.job_world import Full, as_sent, cancel, inbox_of, record, review

_histories = itertools.count(1)
RUNS = ("one", "two")

commands = st.tuples(
    st.sampled_from(["write", "write", "review", "cancel"]), st.sampled_from(RUNS), st.integers(1, 6)
)
histories = st.lists(commands, min_size=1, max_size=12)
cuts = st.lists(st.integers(1, 5), min_size=1, max_size=12)


def message(command: tuple[str, str, int], world: int) -> Message:
    kind, run, fence = command
    name = f"run-{world:08x}{RUNS.index(run):04x}"
    if kind == "review":
        sent: RunExecutorStage = review(fence, run=name)
    else:
        sent = record(fence, run=name)
    sent = sent.model_copy(update={"project_id": f"p-{world}"})
    return cancel(sent) if kind == "cancel" else sent


async def outcome(database: Database[WorkerTransaction], parts: list[list[Message]]) -> list[Any]:
    """Every job of these messages and its state, the Runs by their place in the history."""
    inbox = inbox_of(database, Full([]))
    runs = []
    for part in parts:
        await inbox.handle_together([as_sent(one) for one in part])
    for name in sorted({one.run_id for part in parts for one in part}):  # type: ignore[attr-defined]
        async with database.transaction() as tx:
            runs.append([(job.fence, job.stage, job.state) for job in await tx.jobs_of(name)])
    return runs


def consistent(history: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """A Project's fence is given out once: the same fence is the same Run's same stage."""
    given: dict[int, tuple[str, str]] = {}
    clean = []
    for kind, run, fence in history:
        stage, owner = given.setdefault(fence, ("write" if kind == "cancel" else kind, run))
        clean.append((kind if kind == "cancel" else stage, owner, fence))
    return clean


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories, cuts)
async def test_a_batch_is_its_commands_one_by_one(
    database: Database[WorkerTransaction], history: list[tuple[str, str, int]], cut: list[int]
) -> None:
    history = consistent(history)
    alone = next(_histories)
    single = [[message(command, alone)] for command in history]
    together = next(_histories)
    messages = [message(command, together) for command in history]
    parts, sizes = [], itertools.cycle(cut)
    while messages:
        size = next(sizes)
        parts.append(messages[:size])
        messages = messages[size:]
    assert await outcome(database, parts) == await outcome(database, single)
