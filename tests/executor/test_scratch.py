"""A folder lives as long as the step that made it: what a killed worker left is gone with the next one."""

import os
import subprocess
import sys
from pathlib import Path

from shared.isolation.scratch import Sweeper, sweep, temporary_folder

HOLDS = """
import asyncio, sys
from pathlib import Path
from shared.isolation.scratch import temporary_folder
async def hold():
    async with temporary_folder(Path(sys.argv[1]), "backup") as folder:
        (folder / "production.dump").write_text("everybody's address")
        print(folder, flush=True)
        sys.stdin.read()
asyncio.run(hold())
"""


def dump_in(folder: Path) -> os.stat_result | None:
    """The files in the folder of another process; none when it was cleared."""
    return folder.stat() if (folder / "production.dump").exists() else None


def folders_in(scratch: Path) -> list[str]:
    return [path.name for path in scratch.iterdir() if path.is_dir()]


def start(scratch: Path) -> tuple["subprocess.Popen[str]", Path]:
    argv = [sys.executable, "-c", HOLDS, str(scratch)]
    owner = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    return owner, Path(owner.stdout.readline().strip())


def end(owner: "subprocess.Popen[str]") -> None:
    owner.kill()
    owner.communicate()


async def test_what_a_killed_worker_left_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    owner, left = start(tmp_path)
    async with temporary_folder(tmp_path, "checkout") as mine:
        assert sweep(tmp_path) == []
        seen = dump_in(left)
        assert seen is not None
        assert seen.st_mode & 0o077 == 0
        end(owner)
        assert dump_in(left) is not None
        await Sweeper(tmp_path).start()
        assert folders_in(tmp_path) == [mine.name]
    assert os.listdir(tmp_path) == []


async def test_the_next_step_sweeps_too(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "backup-1")
    os.close(os.open(tmp_path / "backup-1.lock", os.O_CREAT))
    async with temporary_folder(tmp_path, "checkout") as mine:
        assert folders_in(tmp_path) == [mine.name]


def deepen(folder: Path) -> None:
    place = os.open(folder, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("a", dir_fd=place)
        below = os.open("a", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)


async def test_a_tree_deeper_than_the_interpreter_goes_with_its_folder(tmp_path: Path) -> None:
    """One such commit kept every later folder of every Project from being made."""
    async with temporary_folder(tmp_path, "checkout") as folder:
        deepen(folder)
    assert folders_in(tmp_path) == []
    async with temporary_folder(tmp_path, "another") as folder:
        assert folders_in(tmp_path) == [folder.name]
