"""A registry without a broker, packages made of small texts, and the Projects that pin them."""

import base64
import gzip
import hashlib
import io
import itertools
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import select, text

from services.registry.api import router
from services.registry.checking import PackageGate
from services.registry.handlers import handlers
from services.registry.order_trials import DifferenceOf
from services.registry.proving import TrialOf
from services.registry.signatures import SignatureCheck
from services.registry.store import RegistryTransaction
from shared.clients.content import ContentStore
from shared.clock import utc_now
from shared.contracts.envelope import Envelope, Received, receive, to_body
from shared.contracts.projects import Project, ProjectRegistered, RegisterProject
from shared.contracts.releases import PublishRelease, ReleasePublished
from shared.contracts.values import Actor, Command, Message
from shared.contracts.version_maps import Pins
from shared.errors import Reject
from shared.http import problems
from shared.http.limits import Slots
from shared.messaging.inbox import Inbox
from shared.repository_urls import RepositoryRules
from shared.signing.trust import Trust
from shared.storage.database import Database
from shared.storage.tables import OutboxRow
from tests.support.keys import VERIFIER, bearer
from tests.support.proofs import KEYS
from tests.support.signing import UNSIGNED

LENA = Actor(id="lena@library.example", role="library")
MIRA = Actor(id="mira@acme.example", role="maintainer", projects=("acme-portal",))
SAM = Actor(id="sam@platform.example", role="sre")
PINS: Pins = {"auth-system": "1.2.4"}
Files = Mapping[str, str | None]
TABLES_IN_ORDER = (
    *("inbox", "outbox", "package_checks", "proposals", "readings", "releases", "systems"),
    *("version_map_history", "version_maps", "projects"),
)

_numbers = itertools.count(1)


def files(
    version: str = "1.2.4",
    *,
    name: str = "auth-system",
    manifest: str = "",
    earlier: tuple[str, ...] = (),
    notes: str = "",
    changed: Files | None = None,
) -> dict[str, str]:
    """A package that is in order. `changed` replaces files by path; None leaves one out."""
    headings = "".join(f"## {one}\n- As it was.\n" for one in earlier)
    own: dict[str, str | None] = {
        "system.toml": f'name = "{name}"\nversion = "{version}"\nsummary = "{version} is out"\n{manifest}',
        "CHANGELOG.md": f"## {version}\n- What changed.\n{headings}",
        "MIGRATION.md": f"## {version}\n{notes}\n{headings}",
        "files/signin.py": "pass\n",
        "prisma/schema.prisma": "model User {\n  id Int @id\n}\n",
        "prisma/migrations/20250101000000_init/migration.sql": "create table users (id int primary key);\n",
    }
    return {path: content for path, content in {**own, **(changed or {})}.items() if content is not None}


def pack(contents: Files) -> bytes:
    """The tar.gz of these files; the same files give the same bytes."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for path, content in contents.items():
            info = tarfile.TarInfo(path)
            data = (content or "").encode()
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def project(project_id: str = "acme-portal", **changed: Any) -> Project:
    """A Project that may be registered; `changed` replaces its fields."""

    def environment(name: str) -> dict[str, Any]:
        commands = {key: ["true"] for key in ("activate", "observe", "health", "destroy", "logs")}
        return {"database": f"secret:{project_id}-{name}", **commands}

    checks = {"look": {"kind": "command", "run": ["true"]}}
    definition = {
        "id": project_id,
        "name": "A portal",
        "environments": {name: environment(name) for name in ("production", "staging")},
        "checks": {"validate": checks, "check-workflows": checks},
    }
    document = {"id": project_id, "repository": f"/repositories/{project_id}", "approvers": [MIRA.id]}
    return Project.model_validate({**document, "definition": definition, **changed})


@dataclass
class Registry:
    """The registry's rooms, wired as its app does."""

    database: Database[RegistryTransaction]
    inbox: Inbox[RegistryTransaction]
    gate: PackageGate
    content: ContentStore
    http: httpx.AsyncClient = field(init=False)

    def door(self, *, verdict_wait_s: float = 30, waits: Slots | None = None) -> httpx.AsyncClient:
        """A client of the registry's own HTTP door."""
        app = FastAPI()
        app.state.tokens = VERIFIER
        problems.install(app)
        rooms = (self.inbox, self.database, self.gate, self.content)
        routes = router(*rooms, verdict_wait_s=verdict_wait_s, waits=waits)
        app.include_router(routes, prefix="/registry")
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://registry/registry")

    async def ask(self, command: Command, key: str | None = None) -> Any:
        """Handle a command and give its answer. Raises `Reject`."""
        received = arrived(command, key)
        return await self.inbox.perform(received.envelope, command, received.digest)

    async def hear(self, command: Command, key: str | None = None) -> None:
        """Handle a command as the consumer does: a refusal is answered on a topic."""
        await self.inbox.handle_alone(arrived(command, key))

    async def publish(
        self, contents: Files | None = None, *, system: str = "auth-system", version: str | None = None
    ) -> ReleasePublished:
        """Upload and publish a package, and wait for the verdict. Raises `Reject`."""
        contents = files() if contents is None else contents
        inside = (contents["system.toml"] or "").split('version = "')[1].split('"')[0]
        digest = await self.content.put(pack(contents))
        command = PublishRelease(actor=LENA, system=system, version=version or inside, package=digest)
        return await self.verdict(command)

    async def check(self, contents: Files, who: Actor = LENA) -> dict[str, Any]:
        """The answer of the door to the same package, with advice; nothing is published."""
        path = "/releases/check?advice=true"
        answer = await self.http.post(path, content=pack(contents), headers=token(who))
        assert answer.status_code == httpx.codes.OK, answer.text
        return dict(answer.json())

    async def verdict(self, command: PublishRelease) -> ReleasePublished:
        """Handle PublishRelease and have the gate check the package. Raises `Reject`."""
        key = f"publish-{next(_numbers)}"
        answer = await self.ask(command, key)
        if answer is None:
            await self.check_all()
            verdict = await self.gate.verdict(_source(command), key, 0)
            assert verdict is not None
            if verdict.refusals:
                raise Reject(*verdict.refusals)
            answer = verdict.answer
        return ReleasePublished.model_validate(answer)

    async def check_all(self) -> None:
        while await self.gate.check_next():
            pass

    async def register(self, given: Project | None = None, pins: Pins = PINS) -> ProjectRegistered:
        given = given or project()
        command = RegisterProject(actor=SAM, project=given, pins=pins)
        return ProjectRegistered.model_validate(await self.ask(command))

    async def sent(self) -> list[Message]:
        """Everything that was sent since the last look."""
        async with self.database.transaction() as tx:
            query = text("delete from outbox returning id, topic, key, body, headers, created_at").columns(
                *OutboxRow.__table__.columns  # type: ignore[attr-defined]
            )
            rows = sorted(await tx.session.execute(query), key=lambda row: int(row.id))
        messages = []
        for row in rows:
            headers = [(name, base64.b64decode(value)) for name, value in row.headers]
            received = receive(headers, row.body)
            assert row.key == received.message.key().encode()
            messages.append(received.message)
        return messages

    async def count(self, table: str) -> int:
        async with self.database.transaction() as tx:
            return int((await tx.session.execute(select(text(f"count(*) from {table}")))).scalar_one())


@asynccontextmanager
async def running(
    url: str,
    difference_of: DifferenceOf | None = None,
    trial_of: TrialOf | None = None,
    trust: Trust = UNSIGNED,
) -> AsyncIterator[Registry]:
    """A registry on an empty database; the gate runs only when it is told to."""
    database = Database("registry", url, RegistryTransaction)
    async with database.transaction() as tx:
        for table in TABLES_IN_ORDER:
            await tx.session.execute(text(f"delete from {table}"))
    content = ContentStore("memory:///")
    gate = PackageGate(
        database, content, difference_of, trial_of, SignatureCheck(content, trust, KEYS["registry"])
    )
    inbox = Inbox(database, handlers(gate.wake, RepositoryRules(local=True)))
    world = Registry(database, inbox, gate, content)
    async with world.door() as world.http:
        yield world
    await gate.stop()
    await database.close()


def token(actor: Actor) -> dict[str, str]:
    return bearer(actor)


def _source(command: Command) -> str:
    return f"/http/{command.actor.id}"


def arrived(command: Command, key: str | None = None) -> Received:
    """The command as it is read from a topic or over HTTP."""
    envelope = Envelope(
        id=key or f"command-{next(_numbers)}",
        source=_source(command),
        type=command.type_name(),
        subject=command.key(),
        time=utc_now(),
    )
    return Received(envelope, command, hashlib.sha256(to_body(command)).hexdigest())
