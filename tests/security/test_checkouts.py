"""A file of a Project's repository is that file: no link is followed, and no other Project's bytes are read.

Each test would catch a repository whose tree leads the worker to files or objects that are not the Project's.
"""

from pathlib import Path

import pytest

from services.executor.stages.project_tree import files_below
from shared.clients.git import Entry, Git
from shared.errors import Retry
from tests.support.scopes import LOCAL

PASSWD = b"/etc/passwd"


async def _repository(folder: Path) -> Git:
    return await Git.open(str(folder), folder, LOCAL)


async def test_a_link_is_no_file_to_read(tmp_path: Path) -> None:
    """As a seed, a migration, a workflow rule or `upgradepath.toml`, it would be read by the worker."""
    git = await _repository(tmp_path / "mallory.git")
    target, real = await git.write([PASSWD, b"real"])
    paths = ("upgradepath.toml", "tests/seed.sql", "prisma/migrations/1_a/migration.sql", "workflows/a.toml")
    changes = {path: Entry("120000", target) for path in paths}
    tree = await git.tree_with(None, {**changes, "workflows/b.toml": Entry("100644", real)})
    assert [await git.show(tree, path) for path in paths] == [None] * len(paths)
    assert await files_below(git, tree, "workflows") == {"workflows/b.toml": b"real"}
    assert await files_below(git, tree, "prisma/migrations") == {}


async def test_a_commit_of_another_repository_is_no_file(tmp_path: Path) -> None:
    """Git does not ask for such a commit, so its name may be that of anything."""
    git = await _repository(tmp_path / "mallory.git")
    (known,) = await git.write([b"x"])
    tree = await git.tree_with(None, {"tests/seed.sql": Entry("160000", known)})
    assert await git.show(tree, "tests/seed.sql") is None
    assert await files_below(git, tree, "tests") == {}


async def test_who_knows_the_name_of_anothers_file_does_not_get_it(tmp_path: Path) -> None:
    bolt, mallory = await _repository(tmp_path / "bolt.git"), await _repository(tmp_path / "mallory.git")
    (name,) = await bolt.write([b"what bolt keeps"])
    assert (await bolt.blobs([name]))[name] == b"what bolt keeps"
    with pytest.raises(Retry, match="git has no object"):
        await mallory.blobs([name])


async def test_a_checkout_holds_links_as_links(tmp_path: Path) -> None:
    git = await _repository(tmp_path / "mallory.git")
    outside = tmp_path / "outside"
    outside.mkdir()
    (target,) = await git.write([str(outside).encode()])
    tree = await git.tree_with(None, {"link": Entry("120000", target), "file": b"x"})
    commit = await git.commit(tree, [], "links", when=0)
    await git.export(commit, tmp_path / "checkout")
    assert list(outside.iterdir()) == []
    assert (tmp_path / "checkout" / "link").is_symlink()
