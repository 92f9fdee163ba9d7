"""Rows of production and partners' code lie in files, and other users of the machine read none of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.executor.stages.project_tree import checkout as checked_out
from shared.clients.content import ContentStore
from shared.clients.git import Entry, Git
from shared.clients.git_clones import make_clone
from shared.isolation.choosing import Isolation
from shared.isolation.scratch import temporary_folder
from shared.private_files import keep_files_private
from tests.security.runners import attack
from tests.support.scopes import LOCAL

_SERVICE = "sys.argv[1:] = ['registry', '127.0.0.1', '0']; from cli.one_service import main; main()"
_BEGUN = {
    "a service": _SERVICE,
    "dev": "sys.argv[1:] = ['dev', '--world', '/dev/null/no']; from cli.main import main; main()",
    "demo": "sys.argv[1:] = ['demo', '--world', '/dev/null/no']; from cli.main import main; main()",
}
# A command ends by os._exit, and a service that cannot begin as Python does.
_AT_ITS_END = """
import atexit, os, sys
leave = os._exit
atexit.register(lambda: print(oct(os.umask(0o77))))
os._exit = lambda code: (print(oct(os.umask(0o77)), flush=True), leave(code))
"""


@pytest.fixture
def open_mask() -> Iterator[None]:
    """As most shells have it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("begun", _BEGUN)
def test_a_process_makes_files_for_its_user_alone(begun: str) -> None:
    """Without it, dumps, clones and the bytes of a `file://` store are made readable by everybody."""
    program = f"{_AT_ITS_END}{_BEGUN[begun]}"
    named = {name: value for name, value in os.environ.items() if not name.startswith("UPGRADES_")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=named, capture_output=True, text=True, check=False, umask=0o022
    )
    assert done.returncode != 0, "it had nothing to run with"
    assert done.stdout.splitlines()[-1] == "0o77"


def _modes(folder: Path) -> dict[str, str]:
    return {each.name: oct(each.stat().st_mode & 0o777) for each in folder.iterdir()}


@pytest.mark.usefixtures("open_mask")
async def test_folders_of_ours_are_private_whatever_the_mask(tmp_path: Path) -> None:
    """A store, a work folder or clones that another program of ours makes, without the mask of a service."""
    digest = await ContentStore(f"file://{tmp_path}/content").put(b"a backup")
    async with temporary_folder(tmp_path / "work", "restore"):
        pass
    await make_clone(tmp_path / "clone")
    assert _modes(tmp_path) == {"content": "0o700", "work": "0o700", "clone": "0o700"}
    assert await ContentStore(f"file://{tmp_path}/content").get(digest) == b"a backup"


@pytest.mark.usefixtures("open_mask")
async def test_a_folder_that_somebody_has_made_keeps_its_mode(tmp_path: Path) -> None:
    """The operator chooses who may pass through it."""
    shared = tmp_path / "content"
    shared.mkdir()
    shared.chmod(0o2770)
    await ContentStore(f"file://{shared}").put(b"a package")
    assert shared.stat().st_mode & 0o7777 == 0o2770


@pytest.mark.usefixtures("open_mask")
async def test_a_checkout_has_the_modes_of_a_clone(tmp_path: Path) -> None:
    """An `activate` copies them to where a web server reads, which is another user."""
    secret = tmp_path / "away" / "secret"
    secret.parent.mkdir(mode=0o700)
    secret.touch(mode=0o600)
    keep_files_private()
    git = await Git.open(str(tmp_path / "git"), tmp_path / "git", LOCAL)
    file, folder, program = await git.write([bytes(secret), bytes(secret.parent), b"#!/bin/sh"])
    links = {"file": Entry("120000", file), "folder": Entry("120000", folder)}
    run = Entry("100755", program)
    tree = await git.tree_with(None, {**links, "page.html": b"Hello", "bin/deep/run": run})
    async with checked_out(git, await git.commit(tree, [], "One", when=0), tmp_path / "work") as checkout:
        # As `rsync -a` does, it keeps the modes of the files and of the folder itself.
        published = shutil.copytree(checkout, tmp_path / "published", symlinks=True)
        assert checkout.parent.stat().st_mode & 0o777 == 0o700
    assert published.stat().st_mode & 0o777 == 0o755
    for link in links:
        assert (published / link).is_symlink()
        (published / link).unlink()
    assert _modes(published) == {"page.html": "0o644", "bin": "0o755"}
    assert _modes(published / "bin") == {"deep": "0o755"}
    assert _modes(published / "bin" / "deep") == {"run": "0o755"}
    assert _modes(secret.parent) == {"secret": "0o600"}
    assert secret.parent.stat().st_mode & 0o777 == 0o700


_READS = """
import os, pwd
print(open("greeting.txt").read().strip(), sorted(os.listdir("lib")), open("/etc/passwd").readable())
open("made", "w").close()
print(oct(os.stat("made").st_mode & 0o777), os.access("/etc/hosts", os.R_OK), os.path.isdir("/tmp"))
"""


@pytest.mark.usefixtures("open_mask")
async def test_a_command_reads_its_files_and_its_system_all_the_same(
    isolation: Isolation, tmp_path: Path
) -> None:
    """It has another user than the worker: a system that the worker alone may read is none for it."""
    keep_files_private()
    checkout = tmp_path / "checkout"
    (checkout / "lib").mkdir(parents=True)
    (checkout / "greeting.txt").write_text("hello")
    (checkout / "lib" / "one").touch()
    finished = await attack(isolation, checkout, _READS)
    assert finished.output.split("\n")[:2] == ["hello ['one'] True", "0o644 True True"]
