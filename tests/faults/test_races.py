"""A short version of `python -m tests.faults.races`: who lost a Run writes nothing, and answers nothing."""

from pathlib import Path
from typing import Any

from tests.faults.race_field import Field
from tests.faults.races import race

RACES = 20


async def test_of_two_executors_one_wins_and_the_resources_refuse_the_other(
    postgres: Any, tmp_path: Path
) -> None:
    outcome = await race(tmp_path / "course", postgres, RACES, seed=1)
    assert outcome.wrongs == []
    assert (outcome.races, outcome.refused.total()) == (RACES, RACES)


def test_a_write_that_came_late_is_seen() -> None:
    assert Field.late([(1, 1), (2, 1), (1, 2)]) == [(1, 2)]
    assert Field.late([(1, 1), (1, 1), (1, 2), (3, 1)]) == []
