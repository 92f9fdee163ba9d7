"""A Project and two packages of one System, made of small texts; the remote and the merges are real."""

from collections.abc import Mapping
from pathlib import Path

from services.executor.stages import apply
from services.executor.stages.project_tree import kept_ref
from services.executor.stages.tools import Tools
from shared.clients.content import ContentStore
from shared.clients.git import Git
from shared.clients.secrets import Secrets
from shared.contracts.facts import ApplyFacts
from shared.contracts.projects import Project, ProjectDefinition
from shared.contracts.tasks import ApplyTask, ReviewTask, Upgrade
from shared.jobs.job import Job
from shared.packages.package import read_package
from shared.project_file import read_project_file
from tests.executor.project_world import MemoryJournal
from tests.packages.package_files import Files, a_package, packed
from tests.support.backups import backups
from tests.support.isolation import UNISOLATED
from tests.support.scopes import LOCAL, LOCAL_RULES
from tests.support.signing import UNSIGNED

RUN = "run-0123456789ab"
BRANCH = f"upgradepath/{RUN}"
KEPT = kept_ref(RUN)
PINS = {"quote-engine": "0.9.1", "auth-system": "1.2.4"}
INIT = "prisma/migrations/20250101000000_init/migration.sql"
STATUS = "prisma/migrations/20260301120000_user_status"
LINES = "one\ntwo\nthree\nfour\nfive\n"
USER = "model User {\n  id Int @id\n}\n"
_COMMANDS = "\n".join(
    f'{name} = ["python", "hosting/{name}.py"]'
    for name in ("activate", "observe", "health", "destroy", "logs")
)
DEFINITION = f"""
id = "acme-portal"
name = "Acme"
[environments.production]
database = "secret:production-database"
{_COMMANDS}
[environments.staging]
database = "secret:staging-database"
{_COMMANDS}
[checks.validate.look]
kind = "sign-off"
question = "Well?"
[checks.check-workflows.look]
kind = "sign-off"
question = "Well?"
"""
HEADINGS = {
    "CHANGELOG.md": "## 1.3.0\nStatus.\n## 1.2.5\nA fix.\n## 1.2.4\nOld.\n",
    "MIGRATION.md": "## 1.3.0\nLook at it.\n## 1.2.5\n## 1.2.4\n",
}
OLD_FILES = {
    "signin.py": LINES,
    "users.py": LINES,
    "gone.py": "gone\n",
    "static/app.css": "old\n",
    "static/old.css": "old\n",
}
NEW_FILES = {
    "signin.py": LINES.replace("five", "FIVE"),
    "users.py": LINES,
    "new.py": "new\n",
    "static/app.css": "new\n",
}
OLD: Files = a_package(
    version="1.2.4",
    files=OLD_FILES,
    manifest="[config]\nminutes = 30\ncookie = 'a'\n",
    more={
        "CHANGELOG.md": "## 1.2.4\nOld.\n",
        "MIGRATION.md": "## 1.2.4\n",
        "prisma/schema.prisma": USER,
        INIT: "CREATE TABLE users (id int);",
    },
)
NEW: Files = a_package(
    version="1.3.0",
    files=NEW_FILES,
    manifest="""[config]
minutes = 60
cookie = 'a'
days = 90
[files]
overwrite = ["static/**"]
[migrations]
contract = ["20260301120000_user_status"]
""",
    more=HEADINGS
    | {
        "prisma/schema.prisma": USER.replace("}", "  status String?\n}"),
        INIT: "CREATE TABLE users (id int);",
        f"{STATUS}/migration.sql": "ALTER TABLE users ADD status text;",
        f"{STATUS}/down.sql": "ALTER TABLE users DROP status;",
    },
)


def project_files() -> dict[str, str | bytes]:
    """The Project at rest: one System edited here and there, one setting of its own."""
    old = read_package(packed(OLD))
    (init,) = old.migrations
    files: dict[str, str | bytes] = {
        "upgradepath.toml": DEFINITION,
        "version-map.yaml": "".join(f"{name}: {version}\n" for name, version in PINS.items()),
        "config/auth-system.toml": "minutes = 45  # ours\ncookie = 'a'\n",
        "prisma/schema/auth-system.prisma": USER,
        "prisma/migrations/20260401000000_auth-system_init/migration.sql": init.sql,
        "prisma/migrations/20260401000000_auth-system_init/source.toml": (
            f'system = "auth-system"\nname = "{init.name}"\nchecksum = "{init.checksum}"\n'
        ),
        "prisma/migrations/20260501000059_crm/migration.sql": "SELECT 1",
        "workflows/session.toml": (
            'name = "Sessions are long"\n'
            'depends_on = ["auth-system:config.minutes", "auth-system:users.py"]\n'
        ),
        "workflows/quotes.toml": 'depends_on = ["quote-engine:quotes.py", "auth-system:config.cookie"]\n',
        "workflows/users.toml": 'depends_on = ["auth-system:model.User", "auth-system:signin.py"]\n',
        "workflows/README.md": "Our rules.\n",
    }
    files |= {f"systems/auth-system/{path}": text for path, text in OLD_FILES.items()}
    files["systems/auth-system/signin.py"] = LINES.replace("one", "ONE")
    files["systems/auth-system/static/app.css"] = "ours\n"
    files["systems/auth-system/static/mine.css"] = "mine\n"
    return files


class MergeWorld:
    """The remote, and somebody who works on it."""

    def __init__(self, folder: Path, remote: Git, definition: ProjectDefinition) -> None:
        self.remote = remote
        self.journal = MemoryJournal("apply")
        self.tools = Tools(
            ContentStore("memory:///"),
            Secrets(None, {}),
            folder / "worker",
            backups(),
            repositories=LOCAL_RULES,
            isolation=UNISOLATED,
            trust=UNSIGNED,
        )
        self.upgrade: Upgrade
        self.base = ""
        self.project = Project(
            id=definition.id,
            repository=str(remote.folder),
            definition=definition,
            approvers=("mira@acme.example",),
        )

    def job(self, stage: str = "apply") -> Job:
        return Job(RUN, self.project, stage, 1, 1, 1, 60.0, self.journal)

    async def publish(self, old: bytes, new: bytes) -> None:
        """Keep both packages; the upgrade is from one to the other."""
        before, after = read_package(old), read_package(new)
        self.upgrade = Upgrade(
            system=after.system,
            from_version=before.manifest.version,
            to_version=after.manifest.version,
            from_package=await self.tools.content.put(old),
            to_package=await self.tools.content.put(new),
        )

    async def add(self, package: bytes) -> None:
        """Keep a package; the upgrade adds its System."""
        new = read_package(package)
        self.upgrade = Upgrade(
            system=new.system,
            to_version=new.manifest.version,
            to_package=await self.tools.content.put(package),
        )

    def remove(self) -> None:
        """The upgrade removes the System."""
        before = self.upgrade
        self.upgrade = Upgrade(
            system=before.system, from_version=before.from_version, from_package=before.from_package
        )

    async def push(self, branch: str, files: Mapping[str, str | bytes | None], subject: str = "Work") -> str:
        """Somebody's commit onto a branch."""
        head = await self.remote.head(branch)
        changes = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        tree = await self.remote.tree_with(head, changes)
        when = 1_700_000_000 if head is None else await self.remote.date(head) + 60
        made = await self.remote.commit(tree, [head] if head else [], subject, when=when)
        await self.remote.push([(f"refs/heads/{branch}", made, head)])
        return made

    async def prepared(self) -> None:
        """The upgrade branch as prepare leaves it."""
        self.base = await self.head("main")
        await self.remote.push([(f"refs/heads/{BRANCH}", self.base, None), (KEPT, self.base, None)])

    async def head(self, branch: str = BRANCH) -> str:
        found = await self.remote.head(branch)
        assert found is not None
        return found

    async def text(self, path: str, branch: str = BRANCH) -> str | None:
        data = await self.remote.show(await self.head(branch), path)
        return None if data is None else data.decode()

    async def apply(self, *, again: bool = False) -> ApplyFacts:
        task = ApplyTask(branch=BRANCH, upgrades=(self.upgrade,), again=again, merged_base=self.base)
        return await apply.run(self.job(), task, self.tools)

    def review_task(self) -> ReviewTask:
        return ReviewTask(upgrades=(self.upgrade,), pins=PINS)


async def make_merge_world(folder: Path, files: Mapping[str, str | bytes | None] | None = None) -> MergeWorld:
    """The Project with `files` changed, and both packages published."""
    remote = await Git.open(str(folder / "remote.git"), folder / "remote.git", LOCAL)
    world = MergeWorld(folder, remote, read_project_file(DEFINITION))
    await world.push("main", project_files() | dict(files or {}), "The Project")
    await world.publish(packed(OLD), packed(NEW))
    return world
