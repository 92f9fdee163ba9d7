"""Who lost its lease while it slept is refused where its write would land: in Git and at activation."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.executor.clients.fenced_git import FencedGit
from services.executor.clients.migration_table import guarded
from shared.clients.git import Git
from shared.errors import Stale
from tests.support.scopes import LOCAL

MAIN = "refs/heads/main"


async def committed(git: Git, text: str) -> str:
    return await git.commit(await git.tree_with(None, {"file": text.encode()}), [], text, when=0)


@pytest.fixture
async def remote(tmp_path: Path) -> str:
    folder = tmp_path / "remote.git"
    git = await Git.open(str(folder), folder, LOCAL)
    await git.push([(MAIN, await committed(git, "first"), None)])
    return str(folder)


async def test_a_push_from_the_expected_commit_is_refused_once_a_newer_token_was_there(
    remote: str, tmp_path: Path
) -> None:
    sleeper = await FencedGit.enter(remote, tmp_path / "one", (1, 1), LOCAL)
    base = await sleeper.head("main")
    late = await committed(sleeper, "late")
    await FencedGit.enter(remote, tmp_path / "two", (1, 2), LOCAL)
    with pytest.raises(Stale, match=r"1\.2, which is newer than 1\.1"):
        await sleeper.push([(MAIN, late, base)])
    assert await sleeper.head("main") == base


async def test_an_older_token_does_not_even_begin(remote: str, tmp_path: Path) -> None:
    await FencedGit.enter(remote, tmp_path / "one", (2, 1), LOCAL)
    with pytest.raises(Stale):
        await FencedGit.enter(remote, tmp_path / "two", (1, 9), LOCAL)


async def test_the_same_lease_pushes_as_often_as_it_likes(remote: str, tmp_path: Path) -> None:
    first = await FencedGit.enter(remote, tmp_path / "one", (1, 1), LOCAL)
    base = await first.head("main")
    second = await committed(first, "second")
    await first.push([(MAIN, second, base)])
    again = await FencedGit.enter(remote, tmp_path / "one", (1, 1), LOCAL)
    await again.push([(MAIN, await committed(again, "third"), second)])
    # Done before by who held this job before, and found so.
    successor = await FencedGit.enter(remote, tmp_path / "two", (1, 2), LOCAL)
    await successor.push([(MAIN, await committed(successor, "third"), second)])
    assert await successor.head("main") == await committed(successor, "third")


async def test_production_is_activated_by_the_newest_token_only(postgres: Any) -> None:
    postgres.create_database("guarded")
    url = postgres.url("guarded")
    seen: list[str] = []
    entered = asyncio.Event()
    leave = asyncio.Event()

    async def older() -> None:
        async with guarded(url, (1, 1)):
            seen.append("older begins")
            entered.set()
            await leave.wait()
            seen.append("older ends")

    async def newer() -> None:
        async with guarded(url, (2, 1)):
            seen.append("newer")

    first = asyncio.create_task(older())
    await entered.wait()
    second = asyncio.create_task(newer())
    leave.set()
    await asyncio.gather(first, second)
    assert seen == ["older begins", "older ends", "newer"]
    with pytest.raises(Stale):
        async with guarded(url, (1, 1)):
            pytest.fail("the older one activated")
