"""A hostile repository ends as its Project's own verdict, or does no harm: disk, memory, time and rights.

Git is real, and so is the way of a stage: clone, list, read, compare, look back, check out.
"""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.clients import git_limits
from shared.clients.git import LINKS_AND_FOLDERS, Git
from shared.clients.git_access import WorkersAccess
from shared.clients.git_clones import sweep_clones
from shared.clients.git_limits import GitLimits, usage_of
from shared.errors import Failure
from shared.repository_urls import RepositoryRules
from tests.security.hostile_repositories import HOSTILE, MIB, Remote

SMALL = {
    "UPGRADES_GIT_CLONE_MIB": "16",
    "UPGRADES_GIT_CLONE_FILES": "1000",
    "UPGRADES_GIT_CHECKOUT_MIB": "4",
    "UPGRADES_GIT_CHECKOUT_FILES": "500",
    "UPGRADES_GIT_READ_MIB": "2",
    "UPGRADES_GIT_MEMORY_MIB": "512",
    "UPGRADES_GIT_CPU_S": "20",
}
WITHIN_S = 30.0
LOCAL = WorkersAccess(RepositoryRules(local=True))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    git_limits.git_limits.cache_clear()
    yield
    git_limits.git_limits.cache_clear()


async def _stage(remote: Remote, folder: Path) -> None:
    """All that stages do with a repository."""
    git = await Git.open(str(remote.folder), folder / "clone", LOCAL)
    head = await git.head("main")
    assert head is not None
    paths = await git.paths(head)
    await git.blobs([entry.blob for entry in paths.values() if entry.mode not in LINKS_AND_FOLDERS][:20])
    await git.lacking(head)
    await git.log(None, head)
    await git.diff("4b825dc642cb6eb9a060e54bf8d69288fbee4904", head)
    await git.export(head, folder / "checkout")


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_repository_is_its_projects_own_verdict(name: str, tmp_path: Path) -> None:
    hostile, remote, work = HOSTILE[name], Remote(tmp_path / "theirs"), tmp_path / "ours"
    hostile.make(remote)
    (remote.outside / "config").write_text(f"[core]\n\tfsmonitor = {remote.touch}\n")
    kept = sorted(os.listdir(remote.outside))
    began_s, peak = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if hostile.verdict is None:
        await _stage(remote, work)
    else:
        with pytest.raises(Failure) as failed:
            await _stage(remote, work)
        [finding] = failed.value.outcome.findings
        assert re.search(hostile.verdict, finding.detail), finding.detail
        assert finding.subject == "repository"
        assert "git filter-repo" in finding.cure or "take it out" in finding.cure
    assert time.monotonic() - began_s < WITHIN_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 64 << 10, "KiB of our own memory"
    assert usage_of(work).bytes < 40 * MIB
    assert not remote.marker.exists()
    assert sorted(os.listdir(remote.outside)) == kept
    assert "stolen-by-a-repository" not in os.listdir("/tmp")


@pytest.mark.parametrize("folders", ["d" * 300, "/".join("d" * 150)])
async def test_attributes_that_no_folder_takes_are_their_projects_verdict(
    folders: str, tmp_path: Path
) -> None:
    remote = Remote(tmp_path / "theirs")
    remote.main(remote.files({"x": b"x"}))
    git = await Git.open(str(remote.folder), tmp_path / "clone", LOCAL)
    tree = await git.tree_with(None, {f"{folders}/.gitattributes": b"* text\n"})
    with pytest.raises(Failure, match=r"file systems take|folders in each other"):
        await git.as_committed(tree, {"a": b"a"})


async def test_a_clone_that_has_grown_over_years_is_made_anew(tmp_path: Path) -> None:
    """What fetches left behind is not the repository's fault."""
    remote = Remote(tmp_path / "theirs")
    remote.main(remote.files({"x": b"x"}))
    await Git.open(str(remote.folder), tmp_path / "clone", LOCAL)
    (tmp_path / "clone" / "objects" / "old").write_bytes(os.urandom(17 * MIB))
    git = await Git.open(str(remote.folder), tmp_path / "clone", LOCAL)
    assert await git.head("main") is not None
    assert usage_of(tmp_path / "clone").bytes < MIB


async def test_the_oldest_unused_clones_go_first_and_none_that_is_in_use(tmp_path: Path) -> None:
    remote = Remote(tmp_path / "theirs")
    remote.main(remote.files({"x": b"x"}))
    clones = tmp_path / "clones"
    used = await Git.open(str(remote.folder), clones / "used", LOCAL)
    for name, idle_h in {"gone-for-years": 24 * 400, "older": 9, "old": 5, "fresh": 0}.items():
        (clones / name).mkdir()
        (clones / name / "pack").write_bytes(os.urandom(MIB))
        os.utime(clones / name, (time.time() - idle_h * 3600,) * 2)
    os.utime(used.folder, (0, 0))
    assert await sweep_clones(clones, GitLimits()) == ["gone-for-years"]
    assert await sweep_clones(clones, GitLimits(clones_mib=3)) == ["older"]
    assert await sweep_clones(clones, GitLimits(clones_mib=2)) == ["old"]
    assert sorted(os.listdir(clones)) == ["fresh", "used"]
