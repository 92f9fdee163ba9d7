"""A folder lives as long as the step that made it: what a killed worker left is gone with the next one."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from shared.isolation.scratch import Sweeper, sweep, temporary_folder

HOLDS = """
import sys, time
from pathlib import Path
from shared.isolation.scratch import temporary_folder
with temporary_folder(Path(sys.argv[1]), "backup") as folder:
    (folder / "production.dump").write_text("everybody's address")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_worker_left_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        left = Path(owner.stdout.readline().strip())
        with temporary_folder(tmp_path, "checkout") as mine:
            assert sweep(tmp_path) == []
            assert (left / "production.dump").exists()
            assert left.stat().st_mode & 0o077 == 0
            owner.kill()
            owner.wait()
            assert (left / "production.dump").exists()
            asyncio.run(Sweeper(tmp_path).start())
            assert not left.exists()
            assert mine.exists()
    assert list(tmp_path.iterdir()) == []


def test_the_next_step_sweeps_too(tmp_path: Path) -> None:
    (tmp_path / "backup-1").mkdir()
    (tmp_path / "backup-1.lock").touch()
    with temporary_folder(tmp_path, "checkout") as mine:
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [mine.name]


def test_a_tree_deeper_than_the_interpreter_goes_with_its_folder(tmp_path: Path) -> None:
    """One such commit kept every later folder of every Project from being made."""
    with temporary_folder(tmp_path, "checkout") as folder:
        place = os.open(folder, os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("a", dir_fd=place)
            below = os.open("a", os.O_RDONLY, dir_fd=place)
            os.close(place)
            place = below
        os.close(place)
    assert not folder.exists()
    with temporary_folder(tmp_path, "another") as folder:
        assert folder.is_dir()
