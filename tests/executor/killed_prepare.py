"""Prepare in a process of its own, killed in the middle of its copy; by hand, with how many kills and a seed:

python -m tests.executor.killed_prepare 30 7
"""

import asyncio
import json
import random
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from local.postgres import EmbeddedPostgres
from services.executor.clients.postgres import create_database, schema_description, session
from services.executor.stages import prepare
from services.executor.stages.staging import staging_database
from services.executor.stages.tools import Tools
from shared.clients.content import ContentStore
from shared.clients.git import Git
from shared.clients.secrets import Secrets
from shared.contracts.projects import Project
from tests.executor.project_world import BRANCH, World, make_world
from tests.support.backups import backups
from tests.support.isolation import UNISOLATED
from tests.support.scopes import LOCAL, LOCAL_RULES, project_secrets
from tests.support.signing import UNSIGNED

ROWS = 45_000
"""Of 400 bytes each, so that the table is copied without its indexes, which come back afterwards."""
_LOOK_S = 0.005


async def large_world(folder: Path, production: str, staging: str) -> World:
    """The small Project with a large table of real addresses."""
    databases = iter((production, staging))

    async def given() -> str:
        return next(databases)

    world = await make_world(folder, given)
    await world.execute(
        world.production,
        "INSERT INTO users SELECT n, 'ann' || n || repeat('x', 400) || '@x.example'"
        f" FROM generate_series(10, {ROWS}) n",
    )
    given_to_worker = {
        "server": production,
        "production": world.production,
        "staging": world.staging,
        "project": world.project.model_dump_json(by_alias=True),
        "base": world.base,
    }
    (folder / "world.json").write_text(json.dumps(given_to_worker))
    return world


async def kill_at(world: World, chance: random.Random) -> str:
    """Let a worker prepare, and kill it when so much of the copy is done, or so long after; where it was."""
    attempt, share = world.attempts + 1, chance.random()
    world.attempts = attempt
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.executor.killed_prepare", "work", str(world.folder), str(attempt)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    after_s = chance.random() / 2 if chance.random() < 0.5 else 0.0
    async with session(_server(world), statement_timeout_s=60) as connection:
        # Both sides of the copy report; a share of production's rows is what has left it.
        query = "SELECT max(tuples_processed) FROM pg_stat_progress_copy WHERE command = 'COPY FROM'"
        while worker.returncode is None:
            await connection.execute("SELECT pg_stat_clear_snapshot()")
            done = await connection.fetchval(query)
            if done is not None and done >= share * ROWS * 0.8:
                break
            await asyncio.sleep(_LOOK_S)
    with suppress(TimeoutError):
        async with asyncio.timeout(after_s):
            await worker.wait()
    if worker.returncode is None:
        worker.send_signal(signal.SIGKILL)
    code = await worker.wait()
    return f"{share:.0%} and {after_s:.2f} s: {'killed' if code else 'was done'}"


def _server(world: World) -> str:
    """The superuser's URL: a plain role does not see how far another one's copy is."""
    url: str = json.loads((world.folder / "world.json").read_text())["server"]
    return url


async def require_whole(world: World) -> None:
    """The next prepare leaves one staging, whole and masked, and nothing beside it."""
    facts = await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    assert facts.rows == {"users": await world.value(world.production, "SELECT count(*) FROM users")}
    assert await world.value(world.staging_url, "SELECT count(*) FROM users") == facts.rows["users"]
    real = "SELECT count(*) FROM users WHERE email LIKE '%@x.example'"
    assert await world.value(world.staging_url, real) == 0
    assert await schema_description(world.staging_url) == await schema_description(world.production)
    database = staging_database(world.job("prepare"), world.tools)
    others = (
        f"SELECT string_agg(datname, ' ') FROM pg_database WHERE datname LIKE '{database.name[:-12]}%'"
        f" AND datname <> '{database.name}'"
    )
    assert await world.value(world.production, others) is None
    working = (
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.name}' AND query LIKE 'COPY%'"
    )
    assert await world.value(_server(world), working) == 0
    assert await world.clone.head(BRANCH) == world.base


async def _work(folder: Path, attempt: int) -> None:
    given = json.loads((folder / "world.json").read_text())
    secrets = project_secrets(given["production"], given["staging"], str(folder / "hosting"))
    tools = Tools(
        ContentStore("memory:///"),
        Secrets(None, secrets),
        folder / "scratch",
        backups(),
        repositories=LOCAL_RULES,
        isolation=UNISOLATED,
        trust=UNSIGNED,
    )
    clone = await Git.open(str(folder / "remote.git"), folder / f"clone-{attempt}.git", LOCAL)
    project = Project.model_validate_json(given["project"])
    world = World(folder, tools, clone, given["production"], given["staging"], project, given["base"])
    world.attempts = attempt - 1
    await prepare.run(world.job("prepare"), world.prepare_task(), tools)


async def _many(kills: int, seed: int) -> None:
    chance = random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="upgradepath-kills-") as name,
        EmbeddedPostgres(Path(name) / "postgres", fsync=False) as server,
    ):
        for database in ("production", "staging"):
            await create_database(server.url(), database)
        (Path(name) / "world").mkdir()
        world = await large_world(Path(name) / "world", server.url("production"), server.url("staging"))
        for number in range(kills):
            print(number + 1, await kill_at(world, chance), flush=True)
            if chance.random() < 0.5:
                await require_whole(world)
        await require_whole(world)
    print(f"{kills} kills, seed {seed}: whole and masked after each that was followed by another try")


if __name__ == "__main__":
    if sys.argv[1] == "work":
        asyncio.run(_work(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        asyncio.run(_many(int(sys.argv[1]), int(sys.argv[2])))
