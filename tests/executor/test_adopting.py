"""Whatever adoption refuses, its cures lead out: each is followed as printed, until nothing is refused."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.adoption import proposal
from cli.adoption.survey import Asked, Survey, look
from services.executor.clients.mask_file import MASKING_FILE, read_masks
from services.executor.clients.masking import unmasked
from services.executor.clients.migration_files import read_migrations
from services.executor.clients.migration_table import reading
from services.executor.clients.postgres import session
from services.executor.clients.prisma import read_models
from shared.clients.git import Git
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.errors import Reject
from shared.packages.package import Package
from tests.cli.test_adoption import release
from tests.cli.test_adoption_kinds import ALPHA, BETA, TASKS, a_system, below
from tests.executor.conftest import NewDatabase
from tests.support.scopes import LOCAL

ROUNDS_MAX = 12
TASKS_SYSTEM = a_system(
    "tasks", TASKS, {"tasks.py": "# the tasks of the day, and of all the days after it\n"}
)
LIBRARY = {each.system: each for each in (ALPHA, BETA, TASKS_SYSTEM)}
PEOPLE = """CREATE TABLE "Person" (id text PRIMARY KEY, email text, "fullName" text, plan text NOT NULL,
    notes text, settings jsonb, boss text REFERENCES "Person" (id));
"""
SCHEMA = """datasource db {
  provider = "postgresql"
}
model Task {
  id    Int     @id @default(autoincrement())
  ready Boolean @default(false)
}
model Person {
  id       String  @id
  email    String?
  fullName String?
  plan     String
  notes    String?
  settings Json?
  boss     String?
  chief    Person?  @relation("chief", fields: [boss], references: [id])
  staff    Person[] @relation("chief")
}
"""
DATASOURCE, MODELS = SCHEMA.split("model Task", 1)


def published() -> list[Release]:
    pattern = release("auth-system", "1.2.4")
    return [
        pattern.model_copy(update={"system": each.system, "version": each.manifest.version, "migrations": ()})
        for each in LIBRARY.values()
    ]


@dataclass
class Maintainer:
    """Somebody with a clone and production's database, who does what the cures say and nothing else."""

    folder: Path
    database: str
    prisma: str
    asked: dict[str, object] = field(default_factory=dict)
    followed: list[str] = field(default_factory=list)

    @property
    def clone(self) -> Path:
        return self.folder / "clone"

    def shell(self, command: str) -> str:
        return subprocess.run(
            command, shell=True, check=True, cwd=self.clone, capture_output=True, text=True
        ).stdout

    def begin(self, files: Mapping[str, bytes]) -> None:
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", self.folder / "remote.git"], check=True)
        subprocess.run(
            ["git", "clone", "-q", self.folder / "remote.git", self.clone], check=True, capture_output=True
        )
        self.shell("git config user.name M && git config user.email m@x.example && git checkout -q -b main")
        self.write(files)
        self.push()

    def write(self, files: Mapping[str, bytes]) -> None:
        for path, data in files.items():
            (self.clone / path).parent.mkdir(parents=True, exist_ok=True)
            (self.clone / path).write_bytes(data)

    def push(self) -> None:
        self.shell("git add -A && git commit -q --allow-empty -m Done && git push -q origin main")

    async def look(self) -> tuple[Git, Survey]:
        git = await Git.open(str(self.folder / "remote.git"), self.folder / "adopting", LOCAL)
        values = {"branch": "main", "pins": {}, "applied": [], "database": self.database, **self.asked}
        asked = Asked(repository=str(self.folder / "remote.git"), **values)  # type: ignore[arg-type]
        return git, await look(git, asked, published(), self.package)

    def package(self, release: Release) -> Package:
        return LIBRARY[release.system]

    async def follow(self, refusal: Refusal) -> None:
        """Do what the cure says; of two ways the first, unless it does not fit what production has."""
        cure = refusal.cure
        self.followed.append(cure)
        if (applied := re.search(r"confirm it: --applied (\S+); else bring it", cure)) is not None:
            system, _, name = applied[1].partition("/")
            (brought,) = [each for each in LIBRARY[system].migrations if each.name == name]
            self.write({f"{self.prisma}/migrations/{name}/migration.sql": brought.sql.encode()})
            await self.deploy()
            self.push()
        elif (option := re.search(r"^[^;]*--(pin|prisma) (\S+)", cure)) is not None:
            system, _, version = option[2].rstrip(";").partition("=")
            self.asked |= {"pins": {system: version}} if option[1] == "pin" else {"prisma": system}
        elif (command := re.search(r"((mkdir|git) [^;]*?)(, commit|; correct|$)", cure)) is not None:
            self.shell(command[1])
            self.push()
        elif "prisma migrate deploy" in cure:
            await self.deploy()
        elif (resolved := re.search(r"prisma migrate resolve --rolled-back (\S+)", cure)) is not None:
            query = "UPDATE _prisma_migrations SET rolled_back_at = now() WHERE migration_name = $1"
            async with session(self.database) as connection:
                await connection.execute(query, resolved[1])
        else:
            raise AssertionError(f"nobody can follow this cure: {refusal}")

    def history(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.clone)): path.read_bytes()
            for path in self.clone.glob(f"{self.prisma}/migrations/*/migration.sql")
        }

    async def deploy(self) -> None:
        """What `prisma migrate deploy` does."""
        there = read_migrations(self.history(), f"{self.prisma}/migrations")
        async with reading(self.database) as table:
            done = {row.name for row in await table.rows() if row.applied}
        async with session(self.database) as connection:
            for each in there:
                if each.folder not in done:
                    await connection.execute(each.sql)
                    await connection.execute(
                        "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at,"
                        " applied_steps_count) VALUES (gen_random_uuid(), $1, $2, now(), 1)",
                        each.checksum,
                        each.folder,
                    )


def at(prisma: str, *names: str, **texts: str) -> dict[str, bytes]:
    known = TASKS | {"20240105000000_people": PEOPLE} | texts
    return {f"{prisma}/migrations/{name}/migration.sql": known[name].encode() for name in (*names, *texts)}


FIRST_THREE = [*TASKS][:3]


def added_back(maintainer: Maintainer) -> Mapping[str, bytes]:
    """The history ends before the column came back; the schema file has it."""
    return at(maintainer.prisma, *FIRST_THREE) | {f"{maintainer.prisma}/schema.prisma": SCHEMA.encode()}


def several_projects(maintainer: Maintainer) -> Mapping[str, bytes]:
    """A monorepo with two Prisma projects and CRLF files; one System's files lie beside the schema."""
    files = at(maintainer.prisma, *TASKS) | {f"{maintainer.prisma}/schema.prisma": SCHEMA.encode()}
    files |= at("packages/z/prisma", FIRST_THREE[0]) | {"packages/z/prisma/schema.prisma": SCHEMA.encode()}
    files |= below(f"{maintainer.prisma}/", ALPHA)
    return {path: data.replace(b"\n", b"\r\n") for path, data in files.items()}


def many_files(maintainer: Maintainer) -> Mapping[str, bytes]:
    """A folder of schema files that the configuration names, and a single one that was forgotten."""
    config = f'export default defineConfig({{ migrations: {{ path: "{maintainer.prisma}/migrations" }} }})'
    return at(maintainer.prisma, *TASKS) | {
        "prisma.config.ts": config.encode(),
        f"{maintainer.prisma}/schema.prisma": SCHEMA.encode(),
        f"{maintainer.prisma}/schema/base.prisma": DATASOURCE.encode(),
        f"{maintainer.prisma}/schema/models.prisma": f"model Task{MODELS}".encode(),
        **below("alpha/", ALPHA),
    }


@pytest.mark.parametrize(
    ("prisma", "made", "cures"),
    [
        ("prisma", added_back, ["--applied", "git checkout", "resolve"]),
        ("packages/a/prisma", several_projects, ["--prisma", "git mv", "deploy"]),
        ("db", many_files, ["git rm", "git mv", "--pin"]),
    ],
)
async def test_every_cure_that_adoption_prints_leads_on(
    tmp_path: Path, new_database: NewDatabase, prisma: str, made: object, cures: list[str]
) -> None:
    maintainer = Maintainer(tmp_path, await new_database(), prisma)
    files = dict(made(maintainer)) | below("systems/tasks/", TASKS_SYSTEM)  # type: ignore[operator]
    maintainer.begin(files | at(prisma, "20240105000000_people"))
    await _production(maintainer)
    if made is added_back:
        await _break_history(maintainer)
    if made is several_projects:
        maintainer.write(at(prisma, **{"20240106000000_wait": 'CREATE INDEX ON "Task" (ready);'}))
        maintainer.push()
    if made is many_files:
        maintainer.write({"systems/tasks/tasks.py": b"# ours\n"})
        maintainer.push()
    for _ in range(ROUNDS_MAX):
        try:
            git, survey = await maintainer.look()
            refusals = list(survey.refusals)
        except Reject as rejected:
            refusals = list(rejected.refusals)
        if not refusals:
            break
        await maintainer.follow(refusals[0])
    assert refusals == [], maintainer.followed
    for cure in cures:
        assert any(cure in each for each in maintainer.followed), (cure, maintainer.followed)
    assert survey.pins["tasks"] == TASKS_SYSTEM.manifest.version
    assert not any(history.missing for history in survey.histories.values())
    await _proposes(maintainer, git, survey)


async def _production(maintainer: Maintainer) -> None:
    """As the repository's history makes it, with rows."""
    async with session(maintainer.database) as connection:
        await connection.execute(
            "CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,"
            " finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text,"
            " rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),"
            " applied_steps_count int NOT NULL DEFAULT 0)"
        )
    await maintainer.deploy()
    async with session(maintainer.database) as connection:
        await connection.execute(
            "INSERT INTO \"Person\" SELECT 'c' || md5(n::text), 'p' || n || '@real.example',"
            " 'Real ' || n, (ARRAY['free', 'paid'])[1 + n % 2], 'a note ' || n, '{}', NULL"
            " FROM generate_series(1, 60) n"
        )


async def _break_history(maintainer: Maintainer) -> None:
    """One script was edited after it ran, one folder went, and one migration failed and was left so."""
    name = "20240105000000_people"
    maintainer.write(at(maintainer.prisma, **{name: PEOPLE + "-- a word more\n"}))
    maintainer.push()
    maintainer.shell(f"git rm -q -r {maintainer.prisma}/migrations/{FIRST_THREE[2]}")
    maintainer.push()
    async with session(maintainer.database) as connection:
        await connection.execute(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name, logs) VALUES"
            " ('x', repeat('0', 64), '20240107000000_bad', 'relation does not exist')"
        )


async def _proposes(maintainer: Maintainer, git: Git, survey: Survey) -> None:
    """Mask rules are proposed and mask nothing; confirmed, nothing is open, and the branch is settled."""
    waiting = await proposal.masking(survey, maintainer.database, lambda _: False)
    assert waiting.text is not None
    rules = dict(read_masks(waiting.text))
    person = {field: rule for (model, field), rule in rules.items() if model == "Person"}
    assert person == {
        "id": "keep?",
        "email": "email?",
        "fullName": "name?",
        "plan": "keep?",
        "notes": "hash?",
        "settings": "json?",
    }
    assert "real.example" not in waiting.text
    assert "Real " not in waiting.text
    assert waiting.proposed == len(rules) == len(waiting.open)
    assert all("take the question mark away" in each.cure for each in waiting.open)
    settled = await proposal.masking(survey, maintainer.database, lambda _: True)
    assert (settled.open, settled.proposed) == ((), 0)
    changes = proposal.changes(survey, "harbour", "main", settled.text)
    assert MASKING_FILE in changes
    await proposal.push(git, survey, changes, 1_700_000_001)
    git, again = await maintainer.look()
    assert again.refusals == []
    assert proposal.changes(again, "harbour", "main") == {}
    masks = again.masks
    assert await unmasked(maintainer.database, read_models(again.schema, masks=masks)) == ()
    assert (await proposal.masking(again, maintainer.database, lambda _: False)).text is None
