"""What the planner remembers is bounded, by Projects and by Runs, however many of them there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.planner.store.memory import KeptRun, KnownProject, Memory
from tests.planner.test_planner_choices import Road

RUN = Road().run
PROJECTS_MAX, RUNS_MAX = 4, 10

kept = st.tuples(st.just("keep"), st.integers(0, 9), st.integers(0, 12))
forgotten = st.tuples(st.just("forget"), st.integers(0, 9), st.just(0))


def _known(name: str, version: int, runs: int) -> KnownProject:
    return KnownProject(name, version, runs={f"run-{n}": KeptRun(RUN, 1) for n in range(runs)})


@given(st.lists(kept | forgotten, max_size=60))
def test_it_is_bounded_and_holds_what_was_used_last(steps: list[tuple[str, int, int]]) -> None:
    memory = Memory(projects_max=PROJECTS_MAX, runs_max=RUNS_MAX)
    for version, (what, number, runs) in enumerate(steps, start=1):
        name = f"project-{number}"
        if what == "forget":
            memory.forget(name)
            assert memory.recall(name) is None
        else:
            memory.keep(_known(name, version, runs), changed=True)
            found = memory.recall(name)
            assert (found is not None) == (0 < runs <= RUNS_MAX)
        held = [len(known.runs) for known in memory.projects.values()]
        assert memory.runs == sum(held) <= RUNS_MAX
        assert len(held) <= PROJECTS_MAX
