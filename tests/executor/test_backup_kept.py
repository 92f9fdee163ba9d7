"""Which dump a repeated deploy keeps: the last one that holds nothing of what the Run itself wrote."""

from hypothesis import given
from hypothesis import strategies as st

from services.executor.stages.deploy import backup_before_writing
from shared.clock import utc_now
from shared.jobs.job import Effect


def effect(name: str, number: int, *, production: bool = True, stage: str = "deploy") -> Effect:
    return Effect(stage, 1, name, production, f"{number:064}", utc_now(), None)


@given(st.lists(st.sampled_from(["backup", "push", "read", "copy"]), max_size=8))
def test_no_dump_between_it_and_the_first_write_and_none_after(names: list[str]) -> None:
    effects = [
        effect(
            name,
            number,
            production=name in {"backup", "push"},
            stage="prepare" if name == "copy" else "deploy",
        )
        for number, name in enumerate(names)
    ]
    kept = backup_before_writing(effects)
    before = names[: names.index("push")] if "push" in names else []
    assert kept == (f"{len(before) - 1 - before[::-1].index('backup'):064}" if "backup" in before else None)


def test_an_attempt_that_ended_before_it_wrote_left_a_dump_that_is_too_old() -> None:
    first, second = effect("backup", 1), effect("backup", 2)
    assert backup_before_writing([first]) is None, "nothing is written: a new dump is as good, and newer"
    assert backup_before_writing([first, second, effect("push", 3)]) == second.detail
    assert backup_before_writing([first, effect("push", 2), second]) == first.detail
