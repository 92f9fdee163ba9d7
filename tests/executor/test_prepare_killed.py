"""A worker that is killed in the middle of its copy leaves nothing that the next one does not clear away."""

import random
from pathlib import Path

import pytest

from tests.executor.conftest import NewDatabase
from tests.executor.killed_prepare import kill_at, large_world, require_whole


@pytest.mark.superuser
async def test_nothing_of_a_half_copy_is_left(tmp_path: Path, new_database: NewDatabase) -> None:
    """Two kills here; `python -m tests.executor.killed_prepare 30 7` does thirty."""
    world = await large_world(tmp_path, await new_database(), await new_database())
    chance = random.Random(1)
    killed = [await kill_at(world, chance) for _ in range(2)]
    assert sum(each.endswith("killed") for each in killed) >= 1, killed
    await require_whole(world)
