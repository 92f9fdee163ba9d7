"""A refused body names every fault that it has, not the first of each list; how many is bounded."""

from pathlib import Path
from typing import Any

import pytest

from tests.security.test_loop_stalls import no_stall
from tests.security.test_loops_of_services import _built
from tests.support.keys import bearer
from tests.support.planner_examples import MIRA, project

NOWHERE = "postgresql://x@127.0.0.1:1/x"
"""Nothing is asked of a database before a body fits."""


async def refused(tmp_path: Path, body: Any) -> list[dict[str, Any]]:
    async with _built("registry", NOWHERE, tmp_path) as (_, http):
        async with no_stall():
            answer = await http.post("/registry/projects", json=body, headers=bearer(MIRA))
        assert answer.status_code == 422, answer.text
        refusals: list[dict[str, Any]] = answer.json()["refusals"]
        return refusals


def registration(**changes: Any) -> dict[str, Any]:
    return {"project": project().model_dump(mode="json", by_alias=True) | changes}


async def test_every_item_of_a_list_that_does_not_fit_is_named(tmp_path: Path) -> None:
    """Only the first was: its sender came back once for each."""
    found = await refused(tmp_path, registration(approvers=[1, "mira@acme.example", 2, None], id="No"))
    fields = [each["field"] for each in found]
    assert [name for name in fields if ".approvers." in name] == [
        "project.approvers.0",
        "project.approvers.2",
        "project.approvers.3",
    ]
    assert "project.id" in fields
    assert all(each["reason"] and each["cure"] for each in found)


@pytest.mark.parametrize("count", [21, 15_000])
async def test_of_many_faults_the_first_are_named_and_the_rest_are_counted(
    tmp_path: Path, count: int
) -> None:
    """Would catch an answer, or a stall, of the size of the faults."""
    others = len(await refused(tmp_path, registration(approvers=[1]))) - 1
    found = await refused(tmp_path, registration(approvers=[1] * count))
    assert len(found) == 21
    assert found[-1]["reason"] == f"and {count + others - 20} more faults"
