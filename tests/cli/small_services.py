"""A small server with the doors of the services: real tokens, real problems, and what a test puts in."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI, Header, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from shared.contracts import runs
from shared.contracts.freezes import FreezeDeploys, ThawDeploys
from shared.contracts.projects import RegisterProject
from shared.contracts.releases import PublishRelease, WithdrawRelease
from shared.contracts.runs import RunView
from shared.contracts.values import Actor, Command
from shared.errors import Reject, not_found
from shared.http import problems
from shared.http.tokens import WhoAsks
from tests.support.keys import VERIFIER, token

RUN_COMMANDS: dict[str, type[Command]] = {
    "start": runs.StartRun,
    "accept-masks": runs.AcceptMasks,
    "continue": runs.ContinueRun,
    "retry": runs.RetryStage,
    "sign-off": runs.SignOff,
    "approve": runs.ApproveCandidate,
    "reject": runs.RejectCandidate,
    "cancel": runs.CancelRun,
    "roll-back": runs.RollBackRun,
    "resume": runs.ResumeRun,
}
ACTORS = {
    "library": Actor(id="lib@innopo.example", role="library"),
    "maintainer": Actor(id="mira@acme.example", role="maintainer", projects=("acme-portal",)),
    "sre": Actor(id="ops@innopo.example", role="sre"),
}
TOKENS = {name: token(actor) for name, actor in ACTORS.items()}

IdempotencyKey = Annotated[str, Header(alias="Idempotency-Key", min_length=8)]


@dataclass
class Services:
    """What the doors answer, and what they were told. `states` are a Run's, each seen once."""

    url: str = ""
    documents: dict[str, Any] = field(
        default_factory=lambda: {"planner/freeze": {"freeze": None, "revision": 0}}
    )
    states: list[RunView] = field(default_factory=list)
    refuse: Reject | None = None
    statuses: list[int] = field(default_factory=list)
    uploads: list[bytes] = field(default_factory=list)
    envelopes: list[str] = field(default_factory=list)
    commands: list[tuple[Command, str]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    late: int = 0
    """How often the planner has not read of a Project yet."""
    still: int = 0
    """How often a Run is asked for after its first state before it changes."""

    def forget(self) -> None:
        vars(self).update(vars(Services(url=self.url)))

    def take(self, command: Command, key: str) -> None:
        self.commands.append((command, key))
        if self.refuse is not None:
            raise self.refuse

    def seen(self, after_revision: int) -> dict[str, Any]:
        waits = after_revision > 0 and self.still > 0
        self.still -= waits
        revision = after_revision if waits else min(after_revision + 1, len(self.states))
        return {"run": self.states[revision - 1].model_dump(mode="json"), "revision": revision}


def build(services: Services) -> FastAPI:
    app = FastAPI()
    app.state.tokens = VERIFIER
    problems.install(app)
    _add_registry(app, services)
    _add_planner(app, services)

    @app.get("/{path:path}")
    async def read(path: str, request: Request, who: WhoAsks) -> Any:
        services.queries.append(str(request.url.query))
        if path.startswith("planner/projects/") and services.late:
            services.late -= 1
            raise not_found(f"there is no {path} yet", field="path", value=path, cure="try again")
        if path not in services.documents:
            raise not_found(f"there is no {path}", field="path", value=path, cure="look at the list")
        document = services.documents[path]
        return PlainTextResponse(document) if isinstance(document, str) else JSONResponse(document)

    return app


def _add_registry(app: FastAPI, services: Services) -> None:
    @app.post("/registry/content", status_code=201)
    async def content(request: Request, who: WhoAsks) -> dict[str, str]:
        services.uploads.append(await request.body())
        return {"digest": "a" * 64}

    @app.post("/registry/releases/check")
    async def check(request: Request, who: WhoAsks) -> Any:
        services.uploads.append(await request.body())
        services.envelopes.append(request.headers["X-Release-Signature"])
        return services.documents["check"]

    @app.post("/registry/releases", status_code=201)
    async def publish(body: Annotated[dict[str, Any], Body()], who: WhoAsks, key: IdempotencyKey) -> Any:
        services.take(PublishRelease(actor=who, **body), key)
        status = services.statuses.pop(0) if services.statuses else 201
        return JSONResponse(services.documents["published"] if status == 201 else {}, status)

    @app.post("/registry/releases/{system}/{version}/withdraw")
    async def withdraw(
        system: str, version: str, body: Annotated[dict[str, Any], Body()], who: WhoAsks, key: IdempotencyKey
    ) -> Any:
        services.take(WithdrawRelease(actor=who, system=system, version=version, **body), key)
        return services.documents["withdrawn"]

    @app.post("/registry/projects", status_code=201)
    async def register(body: Annotated[dict[str, Any], Body()], who: WhoAsks, key: IdempotencyKey) -> Any:
        command = RegisterProject(actor=who, **body)
        services.take(command, key)
        name = body["project"]["id"]
        services.documents |= {f"notifier/inbox/{name}": [], f"planner/projects/{name}": {}}
        return {"project": body["project"], "revision": 1}


def _add_planner(app: FastAPI, services: Services) -> None:
    @app.post("/planner/runs", status_code=201)
    async def request_plan(
        body: Annotated[dict[str, Any], Body()], who: WhoAsks, key: IdempotencyKey
    ) -> RunView:
        services.take(runs.RequestPlan(actor=who, **body), key)
        return services.states[0]

    @app.get("/planner/runs/{run_id}")
    async def show(run_id: str, who: WhoAsks, after_revision: int = 0, wait_s: float = 0) -> Any:
        if not services.states or run_id != services.states[0].id:
            raise not_found(
                f"there is no {run_id}", field="run_id", value=run_id, cure="upgradepath run list"
            )
        return services.seen(after_revision)

    @app.post("/planner/{verb}")
    async def fleet(
        verb: str, body: Annotated[dict[str, Any], Body()], who: WhoAsks, key: IdempotencyKey
    ) -> Any:
        command = {"freeze": FreezeDeploys, "thaw": ThawDeploys}[verb]
        services.take(command(actor=who, **body), key)
        frozen = {"by": who.id, "reason": body["reason"], "since": "2026-03-01T12:00:00Z"}
        state = {"freeze": frozen if verb == "freeze" else None, "revision": 1}
        services.documents["planner/freeze"] = state
        return state

    @app.post("/planner/runs/{run_id}/{verb}")
    async def act(
        run_id: str, verb: str, body: Annotated[dict[str, Any], Body()], who: WhoAsks, key: IdempotencyKey
    ) -> RunView:
        command = RUN_COMMANDS[verb]
        extra = set(body) - set(command.model_fields)
        assert not extra, extra
        services.take(
            command.model_validate({"actor": who, "project": "acme-portal", "run_id": run_id, **body}), key
        )
        return services.states[0]


@contextmanager
def serve(services: Services) -> Iterator[Services]:
    """The server on a loopback port of its own, until the block ends."""
    with serve_app(build(services)) as services.url:
        yield services


@contextmanager
def serve_app(app: FastAPI) -> Iterator[str]:
    """Serve on a loopback port of its own until the block ends; gives the URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    listening = config.bind_socket()
    thread = Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
