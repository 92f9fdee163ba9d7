"""A small Project with everything real: a repository, two databases, hosting commands, a package."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from local.roles import plain_role
from services.executor.clients import migrations
from services.executor.clients.mask_columns import described
from services.executor.clients.mask_weakening import document, masks_of
from services.executor.clients.migration_files import read_migrations
from services.executor.clients.postgres import session
from services.executor.stages import migrate, prepare
from services.executor.stages.tools import Tools
from shared.clients.content import ContentStore
from shared.clients.database_urls import database_of
from shared.clients.git import Git
from shared.clients.secrets import Secrets
from shared.contracts.facts import MigrateFacts
from shared.contracts.projects import Project
from shared.contracts.tasks import (
    DeployTask,
    InstalledMigration,
    MigrateTask,
    PrepareTask,
    RecordTask,
    RollBackTask,
    Upgrade,
)
from shared.jobs.job import Effect, Job, Say
from shared.packages.archive import pack_folder
from tests.conftest import NewDatabase
from tests.support.approvals import approved
from tests.support.backups import backups
from tests.support.isolation import UNISOLATED
from tests.support.scopes import LOCAL, LOCAL_RULES, project_secrets
from tests.support.signing import UNSIGNED

RUN = "run-0123456789ab"
BRANCH = f"upgradepath/{RUN}"
PEOPLE = 5
_HOSTING = """
import os, pathlib, shutil, sys
key = os.environ["UPGRADEPATH_RUN"] or "production"
home = pathlib.Path(os.environ["HOSTING_ROOT"]) / key
live = home / "live"
"""
_COMMANDS = {
    "activate": "if pathlib.Path('broken').exists(): sys.exit('it will not start')\n"
    "home.mkdir(parents=True, exist_ok=True)\n"
    "live.write_text(os.environ['UPGRADEPATH_COMMIT'])\nprint('address=http://127.0.0.1:9')",
    "observe": "print(live.read_text() if live.exists() else '')",
    "health": "sys.exit(0 if live.exists() and not pathlib.Path('ill').exists() else 'ill')",
    "destroy": "shutil.rmtree(home, ignore_errors=True)",
    "logs": "print('quiet')",
}
SCHEMA = """
model User {
  id    Int    @id
  /// @mask email
  email String
  @@map("users")
}
"""
UPGRADED = """
model User {
  id     Int            @id
  /// @mask email
  email  String
  /// @mask keep
  status String         @default("active")
  events SessionEvent[]
  @@map("users")
}
model SessionEvent {
  id     Int   @id @default(autoincrement())
  userId Int?  @map("user_id")
  user   User? @relation(fields: [userId], references: [id], onDelete: NoAction, onUpdate: NoAction)
  @@map("session_events")
}
"""
INIT = "CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL)"
EXPAND = (
    "ALTER TABLE users ADD COLUMN status text DEFAULT 'active';\n"
    "CREATE TABLE session_events (id serial PRIMARY KEY, user_id int REFERENCES users (id));\n"
)
EXPAND_DOWN = "DROP TABLE session_events;\nALTER TABLE users DROP COLUMN status;\n"
CONTRACT = "ALTER TABLE users ALTER COLUMN status SET NOT NULL;\n"
CONTRACT_DOWN = "ALTER TABLE users ALTER COLUMN status DROP NOT NULL;\n"
OLD, NEW = {"auth-system": "1.2.4"}, {"auth-system": "1.3.0"}


class MemoryJournal:
    """The journal's law, without a database: intent before, outcome after."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.effects: list[Effect] = []
        self.fail_at: str | None = None
        """The name of the effect after whose body the worker 'crashes'."""

    @asynccontextmanager
    async def effect(self, name: str, detail: str = "", *, production: bool = False) -> AsyncIterator[Say]:
        effect = Effect(self.stage, 1, name, production, detail, datetime.now(UTC), None)
        self.effects.append(effect)
        place = len(self.effects) - 1

        async def say(words: str) -> None:
            self.effects[place] = replace(self.effects[place], detail=words)

        yield say
        if name == self.fail_at:
            raise ConnectionError(f"crashed after {name}")
        self.effects[place] = replace(self.effects[place], done_at=datetime.now(UTC))

    async def of_run(self) -> list[Effect]:
        return list(self.effects)

    def touched_production(self) -> bool:
        return any(effect.production for effect in self.effects)


@dataclass
class World:
    """What a test needs to hand; `clone` is somebody else's than the stages'."""

    folder: Path
    tools: Tools
    clone: Git
    production: str
    staging: str
    project: Project
    base: str = ""
    package: str = ""
    installed: tuple[InstalledMigration, ...] = ()
    masks: str | None = None
    attempts: int = field(default=0)
    journal: MemoryJournal = field(default_factory=lambda: MemoryJournal("deploy"))

    def job(self, stage: str) -> Job:
        """The next attempt, with the journal of those before it."""
        self.attempts += 1
        self.journal.stage = stage
        return Job(RUN, self.project, stage, 1, self.attempts, 1, 60.0, self.journal)

    @property
    def staging_url(self) -> str:
        return f"{self.staging}_{RUN.replace('-', '_')}"

    async def commit(self, branch: str, files: dict[str, bytes | None], subject: str) -> str:
        """Somebody's commit onto a branch of the remote."""
        head = await self.clone.head(branch)
        tree = await self.clone.tree_with(head, dict(files))
        parents = [head] if head else []
        when = 1_700_000_000 + (await self.clone.date(head) if head else 0) % 1000 + 1
        made = await self.clone.commit(tree, parents, subject, when=when, author="Mira <mira@acme.example>")
        await self.clone.push([(f"refs/heads/{branch}", made, head)])
        return made

    async def execute(self, url: str, sql: str) -> None:
        async with session(url) as connection:
            await connection.execute(sql)

    async def value(self, url: str, query: str) -> object:
        async with session(url) as connection:
            return await connection.fetchval(query)

    async def live(self, name: str = "production") -> str | None:
        file = self.folder / "hosting" / name / "live"
        return file.read_text() if file.exists() else None

    def prepare_task(self) -> PrepareTask:
        return PrepareTask(branch=BRANCH, base=self.base, masks=self.masks)

    @property
    def upgrade(self) -> Upgrade:
        return Upgrade(
            system="auth-system",
            from_version="1.2.4",
            to_version="1.3.0",
            from_package=self.package,
            to_package=self.package,
        )

    def migrate_task(self, commit: str) -> MigrateTask:
        return MigrateTask(
            branch=BRANCH,
            commit=commit,
            migrations=self.installed,
            upgrades=(self.upgrade,),
            masks=self.masks,
        )

    async def accept_masks(self) -> None:
        """Somebody accepts that every column of production as it is now is kept, which is the weakest."""
        async with session(self.production) as connection:
            columns, _ = await described(connection)
        self.masks = await self.tools.content.put(document(masks_of(columns, {})))

    def deploy_task(self, facts: MigrateFacts, *, without_backup: bool = True) -> DeployTask:
        """`without_backup`: as if it were accepted that the backup may not come back, which takes no time."""
        task = DeployTask(
            branch=BRANCH,
            candidate="c" * 64,
            base=self.base,
            commit=facts.commit,
            tree=facts.tree,
            production_schema=facts.production_schema,
            migrations=self.installed,
            packages=(self.package,),
            upgrades=(self.upgrade,),
            pins=NEW,
            title="Upgrade auth-system to 1.3.0",
            approved_by="mira@acme.example",
        )
        return approved(task, RUN, self.project.id, facts.migrations, without_backup=without_backup)

    def record_task(self, commit: str) -> RecordTask:
        return RecordTask(branch=BRANCH, commit=commit)

    def roll_back_task(self, facts: MigrateFacts | None, **other: object) -> RollBackTask:
        given: dict[str, object] = {
            "branch": BRANCH,
            "base": self.base,
            "pins_before": OLD,
            "production_schema": facts.production_schema if facts else None,
            "commit": facts.commit if facts else None,
            "deploy_began": True,
            "migrations": self.installed,
            "reason": "it is slow",
        }
        return RollBackTask.model_validate(given | other)


async def _plain(url: str, *, makes_databases: bool = False) -> str:
    """The URL with a plain role; where tests get none but those, it has one."""
    if urlsplit(url).username == database_of(url):
        return url
    return await plain_role(url, makes_databases=makes_databases)


async def make_world(
    folder: Path, new_database: NewDatabase, *, down: bool = True, contract_down: bool = True
) -> World:
    """The Project as it is before an upgrade: production runs `base`, with PEOPLE rows in users."""
    production = await _plain(await new_database())
    staging = await _plain(await new_database(), makes_databases=True)
    secrets = project_secrets(production, staging, str(folder / "hosting"))
    remote = folder / "remote.git"
    # A clone of nothing is an empty bare repository, which is what a remote begins as.
    await Git.open(str(remote), remote, LOCAL)
    git = await Git.open(str(remote), folder / "clone.git", LOCAL)
    world = World(
        folder=folder,
        tools=Tools(
            ContentStore("memory:///"),
            Secrets(None, secrets),
            folder / "scratch",
            backups(),
            repositories=LOCAL_RULES,
            isolation=UNISOLATED,
            trust=UNSIGNED,
        ),
        clone=git,
        production=production,
        staging=staging,
        project=_project(str(remote)),
    )
    files = _files()
    world.base = await world.commit("main", dict(files), "The Project")
    await migrations.apply(production, read_migrations(files), (0, 0))
    await world.execute(
        production,
        f"INSERT INTO users SELECT n, 'ann' || n || '@x.example' FROM generate_series(1, {PEOPLE}) n",
    )
    await world.accept_masks()
    live = folder / "hosting" / "production" / "live"
    live.parent.mkdir(parents=True)
    live.write_text(world.base)
    world.package, world.installed = await _package(world, folder / "package", down, contract_down)
    return world


def _files() -> dict[str, bytes]:
    texts = {
        "prisma/schema/main.prisma": SCHEMA,
        "prisma/migrations/20260101000000_init/migration.sql": INIT,
        "prisma/migrations/migration_lock.toml": 'provider = "postgresql"\n',
        "version-map.yaml": "auth-system: 1.2.4\n",
        "config/auth-system.toml": "session_minutes = 45\n",
        "systems/auth-system/signin.py": "old = True\n",
        "notes.txt": "1\n2\n3\n",
    }
    texts |= hosting_files()
    return {path: text.encode() for path, text in texts.items()}


def hosting_files() -> dict[str, str]:
    """Hosting commands that keep in a file which commit is live."""
    return {f"hosting/{name}.py": _HOSTING + text + "\n" for name, text in _COMMANDS.items()}


def _project(repository: str) -> Project:
    environment = {name: ["python", f"hosting/{name}.py"] for name in _COMMANDS} | {
        "variables": {"HOSTING_ROOT": "secret:hosting"}
    }
    check = {"one": {"kind": "sign-off", "question": "Well?"}}
    definition = {
        "id": "acme-portal",
        "name": "Acme",
        "environments": {
            "production": environment | {"database": "secret:production-database", "branch": "main"},
            "staging": environment | {"database": "secret:staging-database"},
        },
        "checks": {"validate": check, "check-workflows": check},
    }
    return Project.model_validate(
        {
            "id": "acme-portal",
            "repository": repository,
            "definition": definition,
            "approvers": ["mira@acme.example"],
        }
    )


async def _package(
    world: World, folder: Path, down: bool, contract_down: bool
) -> tuple[str, tuple[InstalledMigration, ...]]:
    first, second = "20260201000000_user_status", "20260201000100_status_required"
    texts = {
        "system.toml": 'name = "auth-system"\nversion = "1.3.0"\nsummary = "Users have a status"\n'
        f'[migrations]\ncontract = ["{second}"]\n',
        "CHANGELOG.md": "## 1.3.0\n\nUsers have a status.\n",
        "MIGRATION.md": "## 1.3.0\n\nNothing to do.\n",
        "files/signin.py": "old = False\n",
        f"prisma/migrations/{first}/migration.sql": EXPAND,
        f"prisma/migrations/{second}/migration.sql": CONTRACT,
    }
    if down:
        texts[f"prisma/migrations/{first}/down.sql"] = EXPAND_DOWN
    if contract_down:
        texts[f"prisma/migrations/{second}/down.sql"] = CONTRACT_DOWN
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    digest = await world.tools.content.put(pack_folder(folder))
    installed = tuple(
        InstalledMigration(
            system="auth-system",
            name=name,
            folder=f"2026030100000{place}_auth-system_{name[15:]}",
            checksum=hashlib.sha256(sql.encode()).hexdigest(),
            reversible=back,
            contracting=contracting,
        )
        for place, (name, sql, back, contracting) in enumerate(
            [(first, EXPAND, down, False), (second, CONTRACT, contract_down, True)]
        )
    )
    return digest, installed


async def proven(world: World, *, keep_trial: bool = False) -> MigrateFacts:
    """Prepare, a merge as `apply` would make it, and migrate: the candidate stands in staging.

    The trial of a backup that migrate begins goes on with `keep_trial`.
    """
    await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    merged = await world.commit(
        BRANCH,
        {
            "systems/auth-system/signin.py": b"old = False\n",
            "config/auth-system.toml": b"session_minutes = 45\nlimit = 3\n",
            "prisma/schema/main.prisma": UPGRADED.encode(),
        },
        f"Merge auth-system 1.3.0\n\nUpgradepath-Run: {RUN}",
    )
    facts = await migrate.run(world.job("migrate"), world.migrate_task(merged), world.tools)
    if not keep_trial:
        await world.tools.trials.end(RUN)
    return facts
