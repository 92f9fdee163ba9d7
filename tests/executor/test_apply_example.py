"""The example Project takes auth-system 1.3.0: cleanly, or by hand where both edited the same line."""

from pathlib import Path

import pytest

from services.executor.stages.tools import Tools
from shared.clients.content import ContentStore
from shared.clients.git import Git
from shared.clients.secrets import Secrets
from shared.errors import Failure
from shared.packages.archive import pack_folder
from shared.project_file import read_project_file
from tests.executor.merge_world import BRANCH, MergeWorld
from tests.support.backups import backups
from tests.support.scopes import LOCAL, LOCAL_RULES
from tests.support.signing import UNSIGNED

EXAMPLES = Path(__file__).parents[2] / "examples"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


async def example(folder: Path, *variants: str) -> MergeWorld:
    """The example's remote, with the variants' files laid over it, prepared for an upgrade of auth-system."""
    files = files_of(EXAMPLES / "project")
    for variant in variants:
        files |= files_of(EXAMPLES / "variants" / variant)
    definition = read_project_file(files["upgradepath.toml"].decode())
    world = MergeWorld(
        folder, await Git.open(str(folder / "remote.git"), folder / "remote.git", LOCAL), definition
    )
    world.tools = Tools(
        ContentStore("memory:///"),
        Secrets(None, {}),
        folder / "worker",
        backups(),
        repositories=LOCAL_RULES,
        trust=UNSIGNED,
    )
    await world.push("main", files, "The Project")
    old, new = (pack_folder(EXAMPLES / "systems/auth-system" / version) for version in ("1.2.4", "1.3.0"))
    await world.publish(old, new)
    await world.prepared()
    return world


async def test_the_partners_edits_survive(tmp_path: Path) -> None:
    world = await example(tmp_path)
    facts = await world.apply()
    edited = [
        change.path
        for change in facts.files
        if change.partner_edited and change.path.startswith("systems/auth-system/")
    ]
    assert edited
    before = world.base
    for path in edited:
        old = await world.remote.show(before, path)
        new = await world.remote.show(facts.commit, path)
        assert old != new
    config = await world.text("config/auth-system.toml") or ""
    assert "session_minutes = 45" in config
    assert "event_retention_days = 90" in config


async def test_the_same_line_is_solved_by_hand(tmp_path: Path) -> None:
    world = await example(tmp_path, "conflict")
    with pytest.raises(Failure) as failure:
        await world.apply()
    paths = [finding.subject for finding in failure.value.outcome.findings]
    fix = files_of(EXAMPLES / "variants" / "conflict-fix")
    assert set(paths) <= set(fix)
    pushed = await world.push(BRANCH, fix, "Resolve")
    assert (await world.apply(again=True)).commit == pushed
