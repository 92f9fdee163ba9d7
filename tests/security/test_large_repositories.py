"""A repository of 100,000 files, which a hundred kilobytes of Git hold, stops no loop."""

from pathlib import Path

import pytest

from services.processes import COLLECT_AFTER_OBJECTS
from shared.clients.git import Entry, Git
from shared.clients.git_objects import Listing
from shared.errors import Failure
from shared.garbage import imports_left_alone
from tests.security.test_loop_stalls import no_stall
from tests.support.scopes import LOCAL

_FOLDERS, _FILES = 101, 1_000
_ATTRIBUTES = b"* text\n"


async def _repository(folder: Path) -> tuple[Git, str]:
    """Folders that are all the same, so that few objects make many files."""
    git = await Git.open(str(folder), folder, LOCAL)
    attributes, blob = await git.write([_ATTRIBUTES, b"x\n"])
    files = {".gitattributes": attributes} | {f"f{number:04}": blob for number in range(_FILES - 1)}
    [folder_of_files] = await git.objects.write("tree", [_body("100644", files)])
    folders = {f"d{number:03}": folder_of_files for number in range(_FOLDERS)}
    [tree] = await git.objects.write("tree", [_body("40000", folders)])
    return git, tree


def _body(mode: str, entries: dict[str, str]) -> bytes:
    return b"".join(
        b"%s %s\0%s" % (mode.encode(), name.encode(), bytes.fromhex(blob)) for name, blob in entries.items()
    )


async def test_a_hundred_thousand_files_stall_nobody(tmp_path: Path) -> None:
    """To list them, to compare two trees and to change one file took the loop 0.2 to 0.5 s each."""
    git, tree = await _repository(tmp_path / "mallory.git")
    with imports_left_alone(COLLECT_AFTER_OBJECTS):
        await _goes_through(git, tree, tmp_path)


async def _goes_through(git: Git, tree: str, folder: Path) -> None:
    async with no_stall():
        assert len(await git.paths(tree)) == _FOLDERS * _FILES
        changed = await git.tree_with(tree, {"d000/f0000": b"y\r\n", "README": b"new"})
        assert set(await git.changed(tree, changed)) == {"d000/f0000", "README"}
        blobs = await git.as_committed(tree, {"d000/new": b"a\r\n"})
        assert (await git.blobs(list(blobs.values()))).popitem()[1] == b"a\n"
        commit = await git.commit(tree, [], "many", when=0)
        with pytest.raises(Failure, match="101000 files"):
            await git.export(commit, folder / "checkout")


def test_two_listings_are_compared_by_path() -> None:
    one, other = Entry("100644", "a" * 40), Entry("100755", "a" * 40)
    before = Listing({"a": one, "b": one, "c": one}, {})
    after = Listing({"b": one, "c": other, "d": one}, {})
    assert list(before.changed(after).items()) == [
        ("a", (one, None)),
        ("c", (one, other)),
        ("d", (None, one)),
    ]
