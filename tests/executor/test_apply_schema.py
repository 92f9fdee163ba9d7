"""Apply merges a schema fragment field by field, and has Prisma judge what all fragments make together."""

from pathlib import Path

import pytest

from shared.contracts.stages import Finding
from shared.errors import Failure
from tests.conftest import NewDatabase
from tests.executor.merge_world import BRANCH, RUN, USER, MergeWorld, make_merge_world
from tests.executor.test_review import reviewing

FRAGMENT = "prisma/schema/auth-system.prisma"
OURS = "prisma/schema/main.prisma"


async def world_with(folder: Path, files: dict[str, str | bytes | None]) -> MergeWorld:
    world = await make_merge_world(folder, files)
    await world.prepared()
    return world


async def refused(world: MergeWorld, *, again: bool = False) -> Finding:
    with pytest.raises(Failure) as failure:
        await world.apply(again=again)
    (finding,) = failure.value.outcome.findings
    assert f"upgradepath run continue {RUN}" in finding.cure
    return finding


async def test_the_partners_field_and_the_packages_stand_side_by_side(tmp_path: Path) -> None:
    """Both were added before the same brace, which Git calls a conflict."""
    world = await world_with(tmp_path, {FRAGMENT: USER.replace("}", "  nick   String? // ours\n}")})
    await world.apply()
    assert await world.text(FRAGMENT) == (
        "model User {\n  id Int @id\n  nick   String? // ours\n  status String?\n}\n"
    )


async def test_the_same_field_said_differently_is_a_conflict_with_both(tmp_path: Path) -> None:
    world = await world_with(tmp_path, {FRAGMENT: USER.replace("}", "  status Int?\n}")})
    finding = await refused(world)
    assert (finding.kind, finding.subject) == ("conflict", FRAGMENT)
    shown = (
        "lines 3-7:\n<<<<<<< acme-portal\n  status Int?\n=======\n  status String?\n>>>>>>> auth-system-1.3.0"
    )
    assert shown in finding.detail
    assert await refused(world, again=True) == finding
    fix = await world.push(BRANCH, {FRAGMENT: USER.replace("}", "  status String? @db.Text\n}")})
    assert (await world.apply(again=True)).commit == fix


async def test_fragments_that_dispute_a_field_are_told_by_both_places(tmp_path: Path) -> None:
    mine = "/// @extends auth-system\nmodel User {\n  status Int?\n}\n"
    world = await world_with(tmp_path, {OURS: mine})
    finding = await refused(world)
    assert (finding.kind, finding.subject) == ("conflict", OURS)
    for words in ("User.status", f"{FRAGMENT}:3 (status String?)", f"{OURS}:3 (status Int?)"):
        assert words in finding.detail
    await world.push(BRANCH, {OURS: mine.replace("status", "mood")})
    await world.apply(again=True)


async def test_an_error_that_prisma_finds_is_told_by_its_place(tmp_path: Path) -> None:
    world = await world_with(tmp_path, {OURS: 'datasource db {\n  provider = "postgresql"\n}\n'})
    await world.push(BRANCH, {OURS: "model Mine {\n  id Int @id\n  to Nobody\n}\n"})
    finding = await refused(world)
    assert finding.detail.startswith(f'{OURS}:3: Type "Nobody" is neither')


async def test_what_was_wrong_before_the_upgrade_does_not_stop_it(tmp_path: Path) -> None:
    world = await world_with(tmp_path, {OURS: "model Mine {\n  id Int @id\n  to Nobody\n}\n"})
    await world.apply()


@pytest.mark.superuser
async def test_review_foretells_a_dispute(tmp_path: Path, new_database: NewDatabase) -> None:
    mine = "/// @extends auth-system\nmodel User {\n  status Int?\n}\n"
    facts = await (await reviewing(tmp_path, await new_database(), {OURS: mine})).review()
    (disputed,) = [change for change in facts.files if change.conflict]
    assert disputed.path == OURS
    for words in (
        "User.status",
        f"{FRAGMENT}:3 (status String?)",
        f"{OURS}:3 (status Int?)",
    ):
        assert words in disputed.dispute
    quiet = next(change for change in facts.files if not change.conflict)
    assert "dispute" not in quiet.model_dump()
