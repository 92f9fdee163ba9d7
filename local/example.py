"""The example of `examples/`, made real in a world: a repository, databases with rows, an app that runs."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import asyncpg

from local.hosting import open_account
from local.roles import plain_role
from local.world import World
from services.executor.clients.migration_files import read_migrations
from services.executor.clients.migrations import apply
from services.executor.clients.postgres import create_database
from shared.addresses import LOOPBACK
from shared.clients.database_urls import with_database
from shared.clients.environments import EnvironmentRunner
from shared.clients.secret_sources import Scope
from shared.clients.secrets import Secrets
from shared.contracts.projects import ProjectDefinition
from shared.isolation.choosing import Isolation
from shared.project_file import PROJECT_FILE, read_project_file

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PARTNER = "acme"
PROJECT = f"{PARTNER}-portal"
FIRST_RELEASES = (
    ("notifications-system", "0.3.2"),
    ("auth-system", "1.2.4"),
    ("onboarding-system", "0.5.4"),
    ("quote-engine", "0.9.1"),
)
NEW_RELEASE = ("auth-system", "1.3.0")
_ENVIRONMENTS: tuple[Scope, ...] = ("production", "staging")


def package_folder(system: str, version: str) -> Path:
    return EXAMPLES / "systems" / system / version


def definition_of(project: str) -> ProjectDefinition:
    """The example's declaration as that of another Project, with secrets of its name."""
    return read_project_file(_declaration((EXAMPLES / "project" / PROJECT_FILE).read_text(), project))


def _declaration(text: str, project: str) -> str:
    partner = project.split("-")[0]
    renamed = text.replace(f'id = "{PROJECT}"', f'id = "{project}"')
    return renamed.replace(f"secret:{PARTNER}-", f"secret:{partner}-")


@dataclass(frozen=True)
class Example:
    """The Project: where its repository, its checkout and its production database are."""

    repository: Path
    checkout: Path
    production_url: str
    address: str | None

    def push_variant(self, name: str, message: str, branch: str = "main") -> str:
        """Copy `examples/variants/<name>` over the branch, commit, push; the new commit."""
        return self.push(_files(EXAMPLES / "variants" / name), message, branch)

    def push_original(self, variant: str, message: str, branch: str = "main") -> str:
        """Take a variant back: its files as they are in `examples/project`."""
        names = _files(EXAMPLES / "variants" / variant)
        return self.push({name: EXAMPLES / "project" / name for name in names}, message, branch)

    def push(self, files: Mapping[str, Path], message: str, branch: str) -> str:
        """Copy files over the branch, commit, push; the new commit."""
        git(self.checkout, "fetch", "-q", "origin")
        git(self.checkout, "checkout", "-q", "-B", branch, f"origin/{branch}")
        for name, source in files.items():
            shutil.copyfile(source, self.checkout / name)
        git(self.checkout, "add", "-A")
        git(self.checkout, "commit", "-q", "-m", message)
        git(self.checkout, "push", "-q", "origin", f"HEAD:{branch}")
        return git(self.checkout, "rev-parse", "HEAD")


def _files(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def git(folder: Path, *arguments: str) -> str:
    """Git as the partner's developer would use it. Raises CalledProcessError with what Git said."""
    identity = [
        "-c",
        "user.name=Ada of Acme",
        "-c",
        "user.email=ada@acme.example",
        "-c",
        "commit.gpgsign=false",
    ]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


async def set_up(
    world: World,
    postgres_url: str,
    *variants: str,
    partner: str = PARTNER,
    edits: Mapping[str, str] = MappingProxyType({}),
) -> Example:
    """Make the example in this world: the Project at its start, live in production, with its data.

    `postgres_url` is a database of the server on which production's and staging's shall lie. Another
    `partner` has the same portal for its own: repository, databases, hosting and secrets of its name.
    `edits` are texts of files, by path, with which the repository begins.
    """
    home = world.folder / partner
    repository, checkout = home / f"{partner}-portal.git", home / "checkout"
    _make_repository(repository, checkout, variants, partner, edits)
    project, urls = f"{partner}-portal", dict[Scope, str]()
    for name in _ENVIRONMENTS:
        await create_database(postgres_url, f"{partner}_{name}")
        made = with_database(postgres_url, f"{partner}_{name}")
        urls[name] = await plain_role(made, makes_databases=name == "staging")
        world.keep_secret(project, name, f"{partner}-{name}-database", urls[name])
        world.keep_secret(project, name, f"{partner}-hosting", open_account(world, partner))
    production_url = urls["production"]
    files = {
        str(path.relative_to(checkout)): path.read_bytes()
        for path in checkout.glob("prisma/migrations/*/*.sql")
    }
    await apply(production_url, read_migrations(files), (0, 0))
    connection = await asyncpg.connect(production_url)
    try:
        await connection.execute((EXAMPLES / "data" / "production.sql").read_text())
    finally:
        await connection.close()
    address = await activate(world, checkout)
    return Example(repository, checkout, production_url, address)


def _make_repository(
    repository: Path, checkout: Path, variants: tuple[str, ...], partner: str, edits: Mapping[str, str]
) -> None:
    repository.mkdir(parents=True)
    git(repository, "init", "-q", "--bare", "--initial-branch=main")
    shutil.copytree(EXAMPLES / "project", checkout, ignore=shutil.ignore_patterns("__pycache__"))
    for name in variants:
        shutil.copytree(EXAMPLES / "variants" / name, checkout, dirs_exist_ok=True)
    for path, text in edits.items():
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout / path).write_text(text)
    declared = checkout / PROJECT_FILE
    declared.write_text(_declaration(declared.read_text(), f"{partner}-portal"))
    git(checkout, "init", "-q", "--initial-branch=main")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "The portal as it is live")
    git(checkout, "remote", "add", "origin", str(repository))
    git(checkout, "push", "-q", "origin", "main")


async def activate(world: World, checkout: Path) -> str | None:
    """Bring the checkout live in production, as the partner's hosting does; its address."""
    definition = read_project_file((checkout / "upgradepath.toml").read_text())
    secrets = Secrets(world.folder / "secrets", {}).of(definition.id, "production")
    environment = EnvironmentRunner(
        definition.environments.production, "production", "", secrets, isolation=_isolation()
    )
    return await environment.activate(checkout, git(checkout, "rev-parse", "HEAD"))


async def destroy(world: World, checkout: Path) -> None:
    """Stop production's app."""
    definition = read_project_file((checkout / "upgradepath.toml").read_text())
    secrets = Secrets(world.folder / "secrets", {}).of(definition.id, "production")
    environment = EnvironmentRunner(
        definition.environments.production, "production", "", secrets, isolation=_isolation()
    )
    await environment.destroy(checkout)


def _isolation() -> Isolation:
    """As this machine has it; the hosting and the databases are on it."""
    return Isolation.here(LOOPBACK)
