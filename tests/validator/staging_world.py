"""Staging as the validator meets it: a repository, a database, an app that answers, secrets by name."""

import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.validator.stage import Tools, run_checks
from shared.contracts.facts import ChecksFacts
from shared.contracts.projects import Project, ProjectDefinition
from shared.contracts.tasks import ChecksTask
from shared.jobs.job import Effect, Job
from tests.support.isolation import UNISOLATED
from tests.support.scopes import variable

RUN = "run-0123456789ab"
STAGING = variable("acme", "staging", "staging")
KEY = variable("acme", "staging", "key")
PRODUCTION = variable("acme", "production", "production")
DATABASE = f"staging_{RUN.replace('-', '_')}"

PAGES = {
    "/signin": (200, "<h1>Welcome to Acme</h1>"),
    "/old": (302, ""),
    "/broken": (500, "Traceback: password=hunter22"),
}


class Watched(Mapping[str, str]):
    """Variables that remember which of them were asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._values[name]

    def replace(self, name: str, value: str | None) -> None:
        if value is None:
            del self._values[name]
        else:
            self._values[name] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class NoJournal:
    """The validator changes nothing, so it journals nothing."""

    def effect(self, name: str, detail: str = "", *, production: bool = False) -> Any:
        raise AssertionError(f"the validator did {name}")

    async def of_run(self) -> list[Effect]:
        return []


@dataclass
class Staging:
    """What a test changes and looks at."""

    repository: Path
    commit: str
    tools: Tools
    variables: Watched
    address: str
    asked: list[str]
    """Requests that the app got: method, path and body."""

    def project(self, **staging: Any) -> Project:
        commands = {key: ["true"] for key in ("activate", "observe", "health", "destroy")}
        logs = ["sh", "-c", 'echo "INFO up"; cat app.log']
        definition = {
            "id": "acme",
            "name": "Acme",
            "environments": {
                "production": {"database": "secret:production", "logs": logs, **commands},
                "staging": {
                    "database": "secret:staging",
                    "logs": logs,
                    "variables": {"TITLE": "Acme", "KEY": "secret:key"},
                    **commands,
                    **staging,
                },
            },
            "checks": {
                stage: {"any": {"kind": "command", "run": ["true"]}}
                for stage in ("validate", "check-workflows")
            },
        }
        return Project(
            id="acme",
            repository=str(self.repository),
            definition=ProjectDefinition.model_validate(definition),
            approvers=("mira@acme.example",),
        )

    def without_isolation(self) -> None:
        """Checks run by our own rights, so that a test can meet them in a folder of the machine."""
        self.tools = dataclasses.replace(self.tools, isolation=UNISOLATED)

    def job(self, project: Project | None = None) -> Job:
        return Job(
            run_id=RUN,
            project=project or self.project(),
            stage="validate",
            attempt=1,
            fence=7,
            generation=1,
            deadline_s=60,
            journal=NoJournal(),
        )

    def task(self, checks: dict[str, dict[str, Any]], **changes: Any) -> ChecksTask:
        document = {"stage": "validate", "commit": self.commit, "address": self.address, "checks": checks}
        return ChecksTask.model_validate(document | changes)

    async def run(
        self, checks: dict[str, dict[str, Any]], *, project: Project | None = None, **changes: Any
    ) -> ChecksFacts:
        return await run_checks(self.job(project), self.task(checks, **changes), self.tools)

    async def log(self, digest: str | None) -> str:
        assert digest is not None
        return (await self.tools.content.get(digest)).decode()


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def make_repository(folder: Path) -> str:
    """A repository whose upgrade branch has two files; the branch's commit."""
    work = folder.with_name("work")

    def git(*arguments: str, at: Path) -> str:
        who = ("-c", "user.name=Mira", "-c", "user.email=mira@acme.example")
        done = subprocess.run(["git", *who, *arguments], cwd=at, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    work.mkdir()
    git("init", "-q", "-b", f"upgradepath/{RUN}", ".", at=work)
    (work / "greeting.txt").write_text("hello from the checkout\n")
    (work / "app.log").write_text("INFO started\nERROR the quote failed\nINFO key=k3y-value\n")
    git("add", ".", at=work)
    git("commit", "-q", "-m", "Upgrade", at=work)
    git("clone", "-q", "--bare", str(work), str(folder), at=work)
    return git("rev-parse", "HEAD", at=work)


@asynccontextmanager
async def app(asked: list[str]) -> AsyncIterator[str]:
    """An app on a free port of the loopback; its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {line.split(": ")[0].lower(): line.split(": ")[1] for line in head[1:] if ": " in line}
        body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
        asked.append(f"{method} {path} {headers.get('content-type', '')} {body}".strip())
        if path == "/slow":
            await reader.read()
        status, page = PAGES.get(path, (404, "nothing here"))
        location = "Location: http://elsewhere.invalid/\r\n" if status == 302 else ""
        writer.write(
            f"HTTP/1.1 {status} X\r\n{location}Content-Length: {len(page)}\r\nConnection: close\r\n\r\n"
            f"{page}".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
