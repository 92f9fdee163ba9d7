"""One Project's objects are nothing to another's, who may know their names."""

import os
from pathlib import Path

import pytest

from shared.clients.git_command import git
from shared.clients.git_objects import NO_TREE, Objects
from shared.errors import Retry


async def an_empty_repository(folder: Path) -> Objects:
    os.mkdir(folder)
    await git(folder, "init", "--quiet", "--bare", "--initial-branch=none")
    return Objects(folder)


async def test_a_name_alone_brings_nothing_of_another_repository(tmp_path: Path) -> None:
    """Would catch an answer that is remembered under the object's name and not its repository's."""
    mine, other = [await an_empty_repository(tmp_path / name) for name in ("mine", "other")]
    (blob,) = await mine.write("blob", [b"the plan"])
    (tree,) = await mine.write("tree", [b"100644 plan\0" + bytes.fromhex(blob)])
    commit = await mine.write_commit(tree, [], b"secret words", when=1)
    assert (await mine.commit(commit)).subject == "secret words"
    assert await mine.tree(commit) == tree
    assert list((await mine.listing(commit)).files) == ["plan"]
    assert await mine.blobs([blob]) == {blob: b"the plan"}
    for asked in (other.commit(commit), other.tree(commit), other.listing(tree), other.blobs([blob])):
        with pytest.raises(Retry):
            await asked
    assert await other.tree(NO_TREE) == NO_TREE
    # Written there too, it is there too.
    await other.write("blob", [b"the plan"])
    assert await other.blobs([blob]) == {blob: b"the plan"}
