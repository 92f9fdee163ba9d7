"""What is raced for: a Project's repository, its production database, what is live; all keep what came."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import asyncpg

from shared.clients.git import Git
from shared.clients.git_command import git
from tests.support.scopes import LOCAL

MAIN = "refs/heads/main"
Mark = tuple[int, int]
"""The fencing token of who wrote it."""


class Field:
    """One Project's three resources below `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.repository = folder / "repositories" / f"{name}.git"
        self._live = folder / "live" / name
        self._url = folder / "urls" / name

    @property
    def database_url(self) -> str:
        return self._url.read_text()

    async def lay_out(self, url: str) -> None:
        """Make everything, with one commit."""
        for folder in (self.repository, self._live.parent, self._url.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self._url.write_text(url)
        repository = await Git.open(str(self.repository), self.repository, LOCAL)
        await git(self.repository, "config", "core.logAllRefUpdates", "always")
        first = await repository.commit(await repository.tree_with(None, {"a": b"a"}), [], "0.0", when=0)
        await repository.push([(MAIN, first, None)])
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("CREATE TABLE marks (number serial PRIMARY KEY, mark text NOT NULL)")
        finally:
            await connection.close()

    def activated(self, mark: str) -> None:
        with self._live.open("a") as file:
            file.write(f"{mark}\n")

    @staticmethod
    def late(marks: Sequence[Mark]) -> list[Mark]:
        """Those that came after a newer one."""
        return [later for earlier, later in pairwise(marks) if later < earlier]

    async def history(self) -> dict[str, list[Mark]]:
        """Every write to each resource, in the order in which it came there."""
        pushes = await git(self.repository, "log", "--walk-reflogs", "--format=%s", MAIN)
        connection = await asyncpg.connect(self.database_url)
        try:
            rows = await connection.fetch("SELECT mark FROM marks ORDER BY number")
        finally:
            await connection.close()
        live = self._live.read_text().split() if self._live.exists() else []
        return {
            "git": [_mark(text) for text in reversed(pushes.stdout.decode().split())],
            "database": [_mark(row["mark"]) for row in rows],
            "activation": [_mark(text) for text in live],
        }


def _mark(text: str) -> Mark:
    fence, generation = text.split(".")
    return (int(fence), int(generation))
