"""A partner's Project in a system: its repository, its production, and ways to look at them from outside."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg
import httpx

from local import example
from services.executor.clients.postgres import schema_digest
from shared.clients.database_urls import with_database
from shared.contracts.runs import RunView
from shared.project_file import read_project_file, read_version_map
from tests.support.people import Library, Maintainer
from tests.support.system import System, end_processes_in, processes_in

OLD_PINS = dict(example.FIRST_RELEASES)
NEW_PINS = {**OLD_PINS, **dict([example.NEW_RELEASE])}


@dataclass(frozen=True)
class Production:
    """What of production an upgrade could touch, as one comparable value."""

    head: str
    live: str
    schema: str
    users: str
    files: str


class Portal:
    """One partner's portal, live in production, and its maintainer."""

    def __init__(self, system: System, partner: str, made: example.Example) -> None:
        self.system = system
        self.partner = partner
        self.project = f"{partner}-portal"
        self.example = made
        self.mira = Maintainer(system, self.project)
        self.home = system.world.folder / partner
        self.hosting = self.home / "hosting"

    @classmethod
    async def make(
        cls,
        system: System,
        partner: str,
        *variants: str,
        edits: Mapping[str, str] = MappingProxyType({}),
    ) -> Portal:
        """A portal that is live in production, of which the system does not know yet."""
        made = await example.set_up(
            system.world, system.postgres_url, *variants, partner=partner, edits=edits
        )
        return cls(system, partner, made)

    async def introduce(self) -> None:
        """Register the Project; returns when it is told of the new release, and can have it planned."""
        await self.register()
        await self.until_known(dict([example.NEW_RELEASE]))

    async def until_known(self, releases: Mapping[str, str]) -> None:
        """Returns when notifier and planner have read of the Project and of these releases."""
        for system, version in releases.items():
            await self.mira.told(system, version)
        pinned = next(pin for pin in OLD_PINS.items() if pin[0] not in releases)
        await self.mira.can_plan(releases, pinned)

    async def register(self) -> None:
        """Register the Project as its checkout declares it."""
        await self.mira.post("/registry/projects", self.registration())

    def registration(self) -> dict[str, Any]:
        checkout = self.example.checkout
        definition = read_project_file((checkout / "upgradepath.toml").read_text())
        return {
            "project": {
                "id": self.project,
                "repository": str(self.example.repository),
                "definition": definition.model_dump(mode="json", by_alias=True),
                "approvers": [self.mira.actor.id],
                # Mira does it all, unless a journey is about two persons.
                "policy": {"single_person": True},
            },
            "pins": read_version_map((checkout / "version-map.yaml").read_text()),
        }

    # --- Git -------------------------------------------------------------------------------------

    def git(self, *arguments: str) -> str:
        return example.git(self.example.repository, *arguments)

    def head(self, branch: str = "main") -> str:
        return self.git("rev-parse", branch)

    def file(self, path: str, revision: str = "main") -> str:
        return self.git("show", f"{revision}:{path}")

    def branches(self) -> list[str]:
        return self.git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").splitlines()

    def push(self, path: str, text: str, message: str, branch: str = "main") -> str:
        """Commit one file to a branch as the partner's developer would; the new commit."""
        draft = self.home / "draft"
        draft.write_text(text)
        return self.example.push({path: draft}, message, branch)

    # --- databases and processes -----------------------------------------------------------------

    async def ask(self, query: str) -> Any:
        """One value from production's database."""
        async with connected(self.example.production_url) as connection:
            return await connection.fetchval(query)

    async def production(self) -> Production:
        return Production(
            head=self.head(),
            live=await self.live_commit(),
            schema=await schema_digest(self.example.production_url),
            users=await self.ask(
                "select md5(string_agg((u.id, u.email, u.name, u.suspended_at)::text, '|' order by u.id))"
                " from users u"
            ),
            files=self.git("rev-parse", "main^{tree}"),
        )

    async def live_commit(self) -> str:
        """The commit that production's app answers with."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{self.example.address}/version")
        commit: str = answer.raise_for_status().json()["commit"]
        return commit

    async def staging_databases(self) -> list[str]:
        async with connected(self.system.postgres_url) as connection:
            found = await connection.fetch(
                "select datname from pg_database where datname like $1 order by 1",
                f"{self.partner}\\_staging\\_%",
            )
        return [row["datname"] for row in found]

    def staging_url(self, run: RunView) -> str:
        name = f"{self.partner}_staging_{run.id.replace('-', '_')}"
        return with_database(self.system.postgres_url, name)

    async def assert_no_staging(self, run: RunView) -> None:
        """Nothing of a Run's staging is left: no branch, no database, no folder, no process."""
        assert await self.staging_databases() == []
        assert self.branches() == ["main"]
        staging = self.hosting / f"staging-{run.id}"
        assert not staging.exists()
        assert processes_in(staging) == []

    async def close(self) -> None:
        """Stop production's app; nothing of its hosting is left."""
        await example.destroy(self.system.world, self.example.checkout)
        assert end_processes_in(self.hosting) == []


async def publish_examples(system: System) -> None:
    """The Systems that the portals pin, and the new one."""
    library = Library(system)
    for name, version in (*example.FIRST_RELEASES, example.NEW_RELEASE):
        await library.publish(example.package_folder(name, version))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def project_file(old: str, new: str) -> dict[str, str]:
    """The example's `upgradepath.toml` with one thing changed, as an edit."""
    text = (example.EXAMPLES / "project" / "upgradepath.toml").read_text()
    assert old in text
    return {"upgradepath.toml": text.replace(old, new)}


def next_version(system: str, version: str, to: str, folder: Path, summary: str) -> Path:
    """An unpacked package made of an older one, with its changelog and notes; its folder."""
    made = folder / f"{system}-{to}"
    shutil.copytree(example.package_folder(system, version), made)
    manifest = made / "system.toml"
    text = manifest.read_text().replace(f'version = "{version}"', f'version = "{to}"')
    manifest.write_text(re.sub(r'summary = ".*"', f'summary = "{summary}"', text))
    for name, words in (("CHANGELOG.md", f"- {summary}."), ("MIGRATION.md", "Nothing to do.")):
        before, heading, after = (made / name).read_text().partition("## ")
        (made / name).write_text(f"{before}## {to}\n{words}\n\n{heading}{after}")
    return made
