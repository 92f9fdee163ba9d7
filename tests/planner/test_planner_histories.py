"""What the state machine decided once, it decides again: recorded histories come out the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.planner_histories import HISTORIES, SCENARIOS, play, world_of

FILES = sorted(HISTORIES.glob("*.json"))
ENDS = {
    "success": ("succeeded", "upgrades.RunExecutorStage.v1"),
    "conflict-and-continue": ("succeeded", "upgrades.RunExecutorStage.v1"),
    "deploy-failure-and-roll-back": ("rolled-back", "upgrades.ReleaseVersionMap.v1"),
}


def read(path: Path) -> dict[str, Any]:
    history: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return history


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recorded_history_comes_out_the_same(path: Path) -> None:
    history = read(path)
    world = world_of(history)
    for number, step in enumerate(history["steps"], start=1):
        heard = {name: step[name] for name in ("id", "at", "heard") if name in step}
        played = play(world, heard)
        assert played["runs"] == step["runs"], f"the Runs after step {number}"
        assert played["sent"] == step["sent"], f"what step {number} sends"


def test_every_scenario_is_recorded_and_ends_as_its_name_says() -> None:
    assert {path.stem for path in FILES} == set(SCENARIOS) == set(ENDS)
    for path in FILES:
        steps = read(path)["steps"]
        status, last_command = ENDS[path.stem]
        assert [run["status"] for run in steps[-1]["runs"]] == [status]
        commands = [
            sent["type"]
            for step in steps
            for sent in step["sent"]
            if sent["type"] not in {"upgrades.RunChanged.v1", "upgrades.PlanReady.v1"}
        ]
        assert commands[-1] == last_command
