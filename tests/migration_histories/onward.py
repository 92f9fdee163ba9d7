"""A Prisma project of somebody else's, adopted, upgraded by one made-up release, and rolled back.

    python -m tests.migration_histories.onward FOLDER …

FOLDER has `migrations` and the schema's files beside them. Prisma's own engine makes the database and every
table gets rows; then `project adopt` looks at it, and a Run goes through its stages with Git and staging.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from cli.adoption import proposal
from cli.adoption.survey import Asked, look
from local.postgres import EmbeddedPostgres, postgres_bin_folder
from local.roles import plain_role
from services.executor.clients.migration_files import read_migrations
from services.executor.clients.postgres import create_database, schema_digest, session
from services.executor.clients.row_digests import digests
from services.executor.stages import apply, deploy, migrate, prepare, review, roll_back
from services.executor.stages.tools import Tools
from services.registry.domain.history import package_migrations
from shared.clients.content import ContentStore
from shared.clients.git import Git
from shared.clients.secrets import Secrets
from shared.contracts.facts import MigrateFacts
from shared.contracts.projects import Project
from shared.contracts.releases import Release
from shared.contracts.tasks import (
    ApplyTask,
    DeployTask,
    InstalledMigration,
    MigrateTask,
    PrepareTask,
    ReviewTask,
    RollBackTask,
    Upgrade,
)
from shared.errors import Failure, Retry
from shared.packages.package import Package, read_package
from shared.prisma.migrating import apply_migrations, diagnose
from shared.project_file import PROJECT_FILE, VERSION_MAP_FILE, read_project_file, read_version_map
from tests.executor.project_world import BRANCH, RUN, World, hosting_files
from tests.migration_histories.contrib import contrib_settings
from tests.migration_histories.real import tables_of
from tests.migration_histories.rows import fill
from tests.packages.package_files import a_package, packed
from tests.support.approvals import approved
from tests.support.backups import backups
from tests.support.isolation import UNISOLATED
from tests.support.scopes import LOCAL, LOCAL_RULES, project_secrets
from tests.support.signing import UNSIGNED

SYSTEM, OLD, NEW = "upnotes", "1.0.0", "1.1.0"
_COMMANDS = "".join(
    f'{name} = ["python", "hosting/{name}.py"]\n'
    for name in ("activate", "observe", "health", "destroy", "logs")
)
_DEFINITION = f"""
id = "theirs"
name = "Theirs"
[environments.production]
database = "secret:production-database"
{_COMMANDS}
[environments.production.variables]
HOSTING_ROOT = "secret:hosting"
[environments.staging]
database = "secret:staging-database"
{_COMMANDS}
[environments.staging.variables]
HOSTING_ROOT = "secret:hosting"
[staging]
data = "seed"
seed = "prisma/seed.sql"
[checks.validate.look]
kind = "sign-off"
question = "Well?"
[checks.check-workflows.look]
kind = "sign-off"
question = "Well?"
"""
_MODEL = "\nmodel UpNote {\n  id Int @id @default(autoincrement())\n  body String\n}\n"
_UPGRADED = _MODEL.replace("}", "  seen Int @default(0)\n  marks UpMark[]\n}") + (
    "\nmodel UpMark {\n  id Int @id @default(autoincrement())\n  noteId Int\n"
    "  note UpNote @relation(fields: [noteId], references: [id])\n}\n"
)
_INIT = 'CREATE TABLE "UpNote" ("id" SERIAL PRIMARY KEY, "body" TEXT NOT NULL);\n'
_NEXT = (
    'ALTER TABLE "UpNote" ADD COLUMN "seen" INTEGER NOT NULL DEFAULT 0;\n'
    'CREATE TABLE "UpMark" ("id" SERIAL PRIMARY KEY, "noteId" INTEGER NOT NULL);\n'
)
_REFERENCE = (
    'ALTER TABLE "UpMark" ADD CONSTRAINT "UpMark_noteId_fkey" FOREIGN KEY ("noteId")'
    ' REFERENCES "UpNote"("id") ON DELETE RESTRICT ON UPDATE CASCADE;\n'
)
_FIRST, _SECOND = "20200101000000_upnotes", "20200102000000_upnotes_seen"


class Onward:
    """One project on one server. `said` holds a line for each thing that was seen."""

    def __init__(self, server: EmbeddedPostgres, place: Path, folder: Path) -> None:
        self._server, self._place, self._folder = server, place, folder
        self.said: list[str] = []

    async def run(self) -> None:
        """Raises AssertionError, Failure or Retry for what should not be."""
        name = self._place.name.replace("-", "_").replace(".", "_")
        urls = [self._server.url(f"{name}_{which}") for which in ("production", "staging")]
        for url in urls:
            await create_database(self._server.url(), url.rpartition("/")[2])
        urls = [await plain_role(url, makes_databases=url == urls[1]) for url in urls]
        files = self._files()
        # Where Prisma keeps the references by itself, the database has none.
        keeps = any(b'"prisma"' in line for text in files.values() for line in _relation_modes(text))
        packages = {each: packed(_package(each, "" if keeps else _REFERENCE)) for each in (OLD, NEW)}
        scripts = {each.folder: each.sql for each in read_migrations(files)}
        await apply_migrations(urls[0], scripts)
        connection = await asyncpg.connect(urls[0], statement_cache_size=0)
        unfilled = await fill(connection)
        await connection.close()
        self.said.append(f"{len(scripts)} migrations by Prisma's engine; without rows: {unfilled or 'none'}")
        world = await self._world(urls[0], urls[1], files)
        await self._adopt(world, packages)
        await self._upgrade(world, packages, scripts)

    def _files(self) -> dict[str, bytes]:
        schemas = sorted(self._place.rglob("*.prisma"))
        single = len(schemas) == 1
        files = {
            "prisma/schema.prisma" if single else f"prisma/schema/{path.name}": path.read_bytes()
            for path in schemas
        }
        first = next(iter(files))
        files[first] += _MODEL.encode()
        for path in sorted((self._place / "migrations").glob("*/*.sql")):
            files[f"prisma/migrations/{path.relative_to(self._place / 'migrations')}"] = path.read_bytes()
        files["prisma/migrations/29990101000000_upnotes/migration.sql"] = _INIT.encode()
        files["prisma/migrations/migration_lock.toml"] = b'provider = "postgresql"\n'
        files["prisma/seed.sql"] = b"INSERT INTO \"UpNote\" (body) VALUES ('seeded');\n"
        files[f"systems/{SYSTEM}/notes.py"] = _body(OLD)
        files[PROJECT_FILE] = _DEFINITION.encode()
        return files | {path: text.encode() for path, text in hosting_files().items()}

    async def _world(self, production: str, staging: str, files: Mapping[str, bytes]) -> World:
        secrets = project_secrets(production, staging, str(self._folder / "hosting"), project="theirs")
        remote = self._folder / "remote.git"
        await Git.open(str(remote), remote, LOCAL)
        git = await Git.open(str(remote), self._folder / "clone.git", LOCAL)
        project = Project(
            id="theirs",
            repository=str(remote),
            definition=read_project_file(_DEFINITION),
            approvers=("mira@theirs.example",),
        )
        scratch = self._folder / "scratch"
        tools = Tools(
            ContentStore("memory:///"),
            Secrets(None, secrets),
            scratch,
            backups(),
            repositories=LOCAL_RULES,
            isolation=UNISOLATED,
            trust=UNSIGNED,
        )
        world = World(self._folder, tools, git, production, staging, project)
        world.base = await world.commit("main", dict(files), "Theirs")
        return world

    async def _adopt(self, world: World, packages: Mapping[str, bytes]) -> None:
        read = {version: read_package(content) for version, content in packages.items()}
        asked = Asked(str(world.clone.remote), "main", {}, (), world.production)
        survey = await look(
            world.clone, asked, [_release(each) for each in read.values()], lambda each: read[each.version]
        )
        assert not survey.refusals, [f"{each.field}: {each.reason}" for each in survey.refusals]
        assert survey.pins == {SYSTEM: OLD}
        how = [each.how for history in survey.histories.values() for each in history.found]
        changed = proposal.changes(survey, "theirs", "main")
        columns = len(survey.production.proposals)
        self.said.append(f"adopted: {survey.pins}, migrations {how}, {columns} columns to mask")
        files = {path: None if text is None else text.encode() for path, text in changed.items()}
        world.base = await world.commit("main", files, "Adopt upgradepath")
        await world.execute(world.production, "SELECT 1")
        live = world.folder / "hosting" / "production" / "live"
        live.parent.mkdir(parents=True)
        live.write_text(world.base)

    async def _upgrade(self, world: World, packages: Mapping[str, bytes], scripts: Mapping[str, str]) -> None:
        tools = world.tools
        digest = {version: await tools.content.put(content) for version, content in packages.items()}
        upgrade = Upgrade(
            system=SYSTEM, from_version=OLD, to_version=NEW, from_package=digest[OLD], to_package=digest[NEW]
        )
        before = await schema_digest(world.production)
        async with session(world.production) as connection:
            kept = await tables_of(connection)
            rows = await digests(connection, kept)
        began = time.monotonic()
        pins = read_version_map((await world.clone.show(world.base, VERSION_MAP_FILE) or b"").decode())
        found = await review.run(world.job("review"), ReviewTask(upgrades=(upgrade,), pins=pins), tools)
        (planned,) = found.migrations
        assert planned.reversible, planned.way_down
        ours = (
            InstalledMigration.model_validate(
                planned.model_dump(include=set(InstalledMigration.model_fields))
            ),
        )
        await prepare.run(
            world.job("prepare"), PrepareTask(branch=BRANCH, base=world.base, masks=found.masks), tools
        )
        task = ApplyTask(branch=BRANCH, upgrades=(upgrade,), again=False, merged_base=world.base)
        applied = await apply.run(world.job("apply"), task, tools)
        facts = await migrate.run(
            world.job("migrate"),
            MigrateTask(
                branch=BRANCH, commit=applied.commit, migrations=ours, upgrades=(upgrade,), masks=found.masks
            ),
            tools,
        )
        wanted = _deploy_task(world, facts, ours, digest[NEW])
        deployed = await deploy.run(world.job("deploy"), wanted, tools)
        now = await diagnose(world.production, {**scripts, planned.folder: planned.sql})
        assert now.up_to_date, now
        self.said.append(
            f"upgraded in {time.monotonic() - began:.1f} s: {planned.folder}; Prisma: nothing to do"
        )
        await self._roll_back(world, facts, ours, deployed.backup, pins)
        assert await schema_digest(world.production) == before
        async with session(world.production) as connection:
            assert await digests(connection, kept) == rows
        assert (await diagnose(world.production, scripts)).up_to_date
        self.said.append(
            f"rolled back: schema and rows of {len(rows)} tables as before; Prisma: nothing to do"
        )

    async def _roll_back(
        self,
        world: World,
        facts: MigrateFacts,
        ours: tuple[InstalledMigration, ...],
        backup: str | None,
        pins: Mapping[str, str],
    ) -> None:
        rolled = await roll_back.run(
            world.job("roll-back"),
            RollBackTask(
                branch=BRANCH,
                base=world.base,
                pins_before=dict(pins),
                production_schema=facts.production_schema,
                commit=facts.commit,
                deploy_began=True,
                migrations=ours,
                backup=backup,
                reason="it was only tried",
            ),
            world.tools,
        )
        assert all(line.same for line in rolled.proof), rolled.proof


def _body(version: str) -> bytes:
    return (f"VERSION = '{version}'\n" + "# a line of code that tells files apart\n" * 5).encode()


def _relation_modes(text: bytes) -> list[bytes]:
    return [line for line in text.splitlines() if line.strip().startswith(b"relationMode")]


def _package(version: str, reference: str) -> dict[str, str | bytes]:
    more: dict[str, str | bytes] = {
        "prisma/schema.prisma": _MODEL if version == OLD else _UPGRADED,
        f"prisma/migrations/{_FIRST}/migration.sql": _INIT,
        "CHANGELOG.md": "".join(f"## {each}\nNotes.\n" for each in ([NEW, OLD] if version == NEW else [OLD])),
        "MIGRATION.md": "".join(f"## {each}\n" for each in ([NEW, OLD] if version == NEW else [OLD])),
    }
    if version == NEW:
        more[f"prisma/migrations/{_SECOND}/migration.sql"] = _NEXT + reference
    return a_package(SYSTEM, version, files={"notes.py": _body(version)}, more=more)


def _release(package: Package) -> Release:
    return Release(
        system=package.system,
        version=package.manifest.version,
        package="0" * 64,
        summary="Notes",
        migrations=package_migrations(package),
        published_at=datetime.now(UTC),
        published_by="library@example.com",
    )


def _deploy_task(
    world: World, facts: MigrateFacts, ours: tuple[InstalledMigration, ...], package: str
) -> DeployTask:
    """What an approver lets into production: the proven commit with this package."""
    task = DeployTask(
        branch=BRANCH,
        candidate="c" * 64,
        base=world.base,
        commit=facts.commit,
        tree=facts.tree,
        production_schema=facts.production_schema,
        migrations=ours,
        packages=(package,),
        pins={SYSTEM: NEW},
        title="Upgrade",
        approved_by="mira@theirs.example",
    )
    return approved(task, RUN, world.project.id, facts.migrations)


def main() -> None:
    """Exits 1 when a project does not get through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    given = parser.parse_args()
    failed = False
    for place in given.folders:
        # The machine's own programs may be of an older PostgreSQL.
        os.environ["UPGRADES_POSTGRES_BIN"] = str(postgres_bin_folder())
        with (
            tempfile.TemporaryDirectory(prefix="upgradepath-onward-") as scratch,
            EmbeddedPostgres(Path(scratch) / "postgres", fsync=False, settings=contrib_settings()) as server,
        ):
            onward = Onward(server, place, Path(scratch))
            try:
                asyncio.run(onward.run())
            except (AssertionError, Failure, Retry) as error:
                failed = True
                findings = error.outcome.findings if isinstance(error, Failure) else ()
                onward.said += [f"FAILED: {error}", *(f"{each.subject}: {each.detail}" for each in findings)]
        print(place.name, *onward.said, sep="\n  ")
        sys.stdout.flush()
    sys.exit(failed)


if __name__ == "__main__":
    main()
