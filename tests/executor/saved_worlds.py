"""Projects that were brought to a stage once a session: each test gets one as it was then.

The way there runs for real, by the same code as a test of its own would run it. What it made is put aside:
the folder with repositories, clones, hosting and content, and the databases. A test gets all of it back under
the names and paths that it had, so that signatures, digests and secrets hold.
"""

import os
import shutil
from collections.abc import Awaitable, Callable, Hashable
from copy import copy
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from services.executor.clients.postgres import Connection, create_database, literal, quoted, session
from services.executor.stages import deploy
from services.executor.stages.backup_trials import BackupTrials
from shared.clients.content import ContentStore
from shared.clients.database_urls import database_of
from shared.clients.git import Git
from shared.contracts.facts import MigrateFacts
from tests.conftest import NewDatabase, PostgresServer
from tests.executor.project_world import World, make_world, proven
from tests.support.backups import backups
from tests.support.scopes import LOCAL

T = TypeVar("T")
Road = Callable[[Path, NewDatabase], Awaitable[tuple[World, T]]]
"""Makes a world in a folder and brings it to a stage; what is known then besides."""
_numbers = count(1)
# Two workers may share the server that the environment names.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
_ASIDE = "_aside"
_THERE = """
    SELECT d.datname AS name, r.rolname AS owner, shobj_description(d.oid, 'pg_database') AS comment
    FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE left(d.datname, length($1)) = $1
"""


@dataclass(frozen=True)
class _Saved:
    folder: Path
    prefix: str
    world: World
    known: Any
    databases: tuple[Any, ...]


class SavedWorlds:
    """The worlds of a session, by the road that leads there. Of each one test at a time has the only copy."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._saved: dict[Hashable, _Saved] = {}
        self._trials = BackupTrials()

    async def proven(self, *, down: bool = True, contract_down: bool = True) -> tuple[World, MigrateFacts]:
        """The candidate stands in staging; the trial of a backup has ended."""

        async def road(folder: Path, new_database: NewDatabase) -> tuple[World, MigrateFacts]:
            world = await _made(folder, new_database, down, contract_down)
            return world, await proven(world)

        return await self.at(("proven", down, contract_down), road)

    async def deployed(
        self, *, down: bool = True, contract_down: bool = True
    ) -> tuple[World, MigrateFacts, str]:
        """The candidate is in production; the last is the backup's digest."""

        async def road(folder: Path, new_database: NewDatabase) -> tuple[World, tuple[MigrateFacts, str]]:
            world = await _made(folder, new_database, down, contract_down)
            candidate = await proven(world)
            facts = await deploy.run(world.job("deploy"), world.deploy_task(candidate), world.tools)
            assert facts.backup is not None
            return world, (candidate, facts.backup)

        world, (candidate, backup) = await self.at(("deployed", down, contract_down), road)
        return world, candidate, backup

    async def at(self, key: Hashable, road: Road[T]) -> tuple[World, T]:
        """The world at the end of that road, which is gone once for each key."""
        # A test may have left one at work in databases that are about to be brought back.
        await self._trials.stop()
        self._trials = BackupTrials()
        if key not in self._saved:
            self._saved[key] = await self._save(road)
        saved = self._saved[key]
        await self._bring_back(saved)
        journal = copy(saved.world.journal)
        journal.effects = list(journal.effects)
        # Who has the clone open remembers what later tests fetched into it.
        clone = Git(saved.world.clone.folder, saved.world.clone.remote, LOCAL)
        tools = replace(saved.world.tools, trials=self._trials)
        return replace(saved.world, clone=clone, journal=journal, tools=tools), saved.known

    async def _save(self, road: Road[T]) -> _Saved:
        number = next(_numbers)
        folder, prefix = self._folder / str(number), f"saved_{_WORKER}{number}_"
        folder.mkdir()
        places = count(1)

        async def new_database() -> str:
            name = f"{prefix}{next(places)}"
            await create_database(self._server.url(), name)
            return self._server.url(name)

        async with session(self._server.url()) as connection:
            await _drop(connection, prefix)
        world, known = await road(folder, new_database)
        shutil.copytree(folder, _aside(folder), symlinks=True)
        async with session(self._server.url()) as connection:
            databases = tuple(await connection.fetch(_THERE, prefix))
            for each in databases:
                await _copy(connection, each["name"], f"{each['name']}{_ASIDE}", each["owner"])
        return _Saved(folder, prefix, world, known, databases)

    async def _bring_back(self, saved: _Saved) -> None:
        shutil.rmtree(saved.folder)
        shutil.copytree(_aside(saved.folder), saved.folder, symlinks=True)
        async with session(self._server.url()) as connection:
            await _drop(connection, saved.prefix, but=_ASIDE)
            for each in saved.databases:
                name, owner = each["name"], each["owner"]
                await _copy(connection, f"{name}{_ASIDE}", name, owner)
                if each["comment"] is not None:
                    await connection.execute(
                        f"COMMENT ON DATABASE {quoted(name)} IS {literal(each['comment'])}"
                    )
            for url in (saved.world.production, saved.world.staging):
                # A test may have taken it away.
                await connection.execute(f"ALTER ROLE {quoted(database_of(url))} CREATEDB")

    async def close(self) -> None:
        """Drop what is left on the server."""
        await self._trials.stop()
        for saved in self._saved.values():
            async with session(self._server.url()) as connection:
                await _drop(connection, saved.prefix)


async def _made(folder: Path, new_database: NewDatabase, down: bool, contract_down: bool) -> World:
    world = await make_world(folder, new_database, down=down, contract_down=contract_down)
    content = ContentStore((folder / "content").as_uri())
    assert await content.put(await world.tools.content.get(world.package)) == world.package
    kept = backups((folder / "backups").as_uri(), earlier=content)
    world.tools = replace(world.tools, content=content, backups=kept)
    await world.accept_masks()
    return world


async def _copy(connection: Connection, name: str, to: str, owner: str) -> None:
    # Small databases are copied faster by their files; servers before 15 know no other way.
    files = "STRATEGY file_copy" if connection.get_server_version().major >= 15 else ""
    await connection.execute(
        f"CREATE DATABASE {quoted(to)} TEMPLATE {quoted(name)} OWNER {quoted(owner)} {files}"
    )
    await connection.execute(f"REVOKE CONNECT ON DATABASE {quoted(to)} FROM PUBLIC")


async def _drop(connection: Connection, prefix: str, but: str = "") -> None:
    for each in await connection.fetch(_THERE, prefix):
        if not but or not each["name"].endswith(but):
            await connection.execute(f"DROP DATABASE {quoted(each['name'])} WITH (FORCE)")


def _aside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{_ASIDE}")
