"""A service as a process sees it: a router, and parts that start and stop with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client.core import Metric

from shared import crash_points
from shared.audit.sealer import Sealer
from shared.audit.tries import Tries
from shared.http import problems
from shared.http.audit import router as audit_router
from shared.http.documents import describe
from shared.http.guard import Door, Guard, from_loopback
from shared.http.queries import require_known_queries
from shared.identity.issuer_keys import KeyRefresher
from shared.messaging import gauges
from shared.messaging.consumer import Consumer
from shared.messaging.inbox import Inbox
from shared.messaging.relay import Relay
from shared.settings import ServiceSettings
from shared.storage.database import Database
from shared.storage.pruning import INBOX, Prune, Pruner, kept
from shared.storage.schema_version import bring_up_to_date
from shared.telemetry import metrics, token_keys
from shared.telemetry.traces import configure_tracing, stop_tracing

_LOOK_EVERY_S = 0.5
TOKENS = "tokens"
"""What proves people, in `/health` while something is wrong with it."""


class Part(Protocol):
    """Something that works in the background of a service."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass
class Service:
    """One of the five, wired: `build(settings)` of its `app.py` makes it."""

    name: str
    settings: ServiceSettings
    database: Database[Any]
    inbox: Inbox[Any]
    router: APIRouter
    parts: Sequence[Part] = ()
    """Its own background work, started after the consumer and stopped before it."""
    own_gauges: Sequence[metrics.Gauges] = ()
    own_prunes: Sequence[Prune] = ()
    """What of its tables is over some day, besides the inbox."""
    byte_bodies: Mapping[str, int] = field(default_factory=dict)
    """The paths below its prefix that take a file instead of JSON, and how many bytes."""

    def __post_init__(self) -> None:
        metrics.begin_at_zero(self.name)
        prunes = (INBOX, *self.own_prunes)
        self.pruner = Pruner(self.database, prunes, timedelta(days=self.settings.keep_inbox_days))
        self._kept = kept(self.database, prunes)
        keys = self.settings.keys()
        self.tokens = self.settings.token_verifier()
        self._refresher = KeyRefresher(self.tokens.sources)
        self.consumer = Consumer(
            self.name,
            self.inbox,
            self.settings.kafka,
            self.settings.instance,
            proofs=keys.verifier,
            tokens=self.tokens,
            pool=self.settings.pool_name,
        )
        self.relay = Relay(self.database, self.settings.kafka, signer=keys.signer)
        self.sealer = Sealer(self.database, keys.signer)

    async def gauges(self) -> Sequence[Metric]:
        """What this service tells at a scrape; when its database is away, that."""
        asked: list[Metric] = [*token_keys.gauges(self.name, self.tokens)]
        of_messages = (gauges.outbox(self.database), gauges.lag(self.consumer), self.sealer.gauges)
        asking = (*of_messages, self._kept, *self.own_gauges)
        state = await _health(self)
        if not state.startswith("database"):
            for ask in asking:
                asked.extend(await ask())
        ready: dict[tuple[str, ...], float] = {(self.name,): float(state == "ok")}
        return [metrics.gauge("ready", "Whether the service does its work.", ("service",), ready), *asked]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Service"]:
        """Migrate the database, start everything, and stop it in the opposite order."""
        crash_points.enter(self.name)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.database.close)
            if self.settings.otlp_endpoint is not None:
                configure_tracing(self.name, self.settings.otlp_endpoint)
                stack.callback(stop_tracing, self.name)
            await bring_up_to_date(self.name, self.database.engine, self.database.url)
            parts: tuple[Part, ...] = (
                self._refresher,
                self.relay,
                self.sealer,
                self.consumer,
                *self.parts,
                self.pruner,
            )
            for part in parts:
                await part.start()
                stack.push_async_callback(part.stop)
            yield self


def web_application(services: Sequence[Service]) -> FastAPI:
    """All given services behind one port, each under its own prefix, with one OpenAPI document.

    The first one's settings count for the port, and its keys prove people's bearer tokens.
    """
    settings = services[0].settings
    is_documented = settings.docs != "off"
    app = FastAPI(
        title="upgradepath",
        version="1",
        docs_url="/docs" if is_documented else None,
        openapi_url="/openapi.json" if is_documented else None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.tokens = services[0].tokens
    problems.install(app)
    for service in services:
        for routes in (service.router, audit_router(service.database, service.sealer)):
            app.include_router(
                routes,
                prefix=f"/{service.name}",
                tags=[service.name],
                dependencies=[Depends(require_known_queries)],
            )
    _add_pages(app, services)
    describe(app, public=("/health",))
    app.add_middleware(
        Guard,
        settings=settings.http,
        tries=Tries({service.name: service.database for service in services}),
        doors={
            "/metrics": Door(settings.metrics, "sre"),
            **dict.fromkeys(("/docs", "/openapi.json"), Door(settings.docs)),
        },
        byte_bodies={
            f"/{service.name}{path}": bytes_max
            for service in services
            for path, bytes_max in service.byte_bodies.items()
        },
    )
    return app


def _add_pages(app: FastAPI, services: Sequence[Service]) -> None:
    """What a process says of itself, whichever services it runs."""

    look = _Looks(services)

    @app.get(
        "/health",
        tags=["health"],
        response_model=dict[str, str],
        responses={503: {"model": dict[str, str], "description": "a service does not do its work"}},
    )
    async def health(request: Request) -> JSONResponse:
        """200 when every service's database and broker answer and its consumer gets somewhere, else 503.

        Why it does not is for this machine's eyes; others hear which part it is.
        """
        report = await look.states()
        healthy = all(state == "ok" for state in report.values())
        # An issuer that is away is no reason to start this process again, or to send it no more requests.
        if troubles := services[0].tokens.troubles():
            report = {**report, TOKENS: f"degraded: {'; '.join(troubles)}"}
        if not from_loopback(request.scope):
            report = {name: state.partition(":")[0] for name, state in report.items()}
        return JSONResponse(report, 200 if healthy else 503)

    if services[0].settings.metrics == "off":
        return

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    async def scrape() -> PlainTextResponse:
        """Everything that Prometheus is to know of this process and its services."""
        asked = await asyncio.gather(*(service.gauges() for service in services))
        families = [metric for gauges_of_one in asked for metric in gauges_of_one]
        return PlainTextResponse(metrics.exposition(families), media_type=metrics.CONTENT_TYPE)


class _Looks:
    """The services' health, looked at once a moment, however many ask: nobody needs a token for that."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._looking = asyncio.Lock()
        self._seen: dict[str, str] = {}
        self._seen_at = -_LOOK_EVERY_S

    async def states(self) -> dict[str, str]:
        """The state of each service by its name."""
        loop = asyncio.get_running_loop()
        async with self._looking:
            if loop.time() - self._seen_at >= _LOOK_EVERY_S:
                states = await asyncio.gather(*(_health(service) for service in self._services))
                names = [service.name for service in self._services]
                self._seen, self._seen_at = dict(zip(names, states, strict=True)), loop.time()
        return self._seen


async def _health(service: Service) -> str:
    try:
        await service.database.ping()
    except Exception as error:  # whatever it is, the answer is: not healthy, and why
        return f"database: {type(error).__name__}: {error}"
    if not await service.consumer.broker.ping(timeout=2.0):
        return "broker: no answer"
    return service.consumer.trouble() or "ok"
