"""Composes the portal: the Systems' pages, Acme's own, and what ties them together."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from . import crm, systems, workflows
from .database import Database
from .pages import page

HERE = Path(__file__).parent


async def home(request: Request) -> Response:
    """The first page."""
    return page(HERE / "templates" / "home.html", title="Home")


async def terms(request: Request) -> Response:
    """Acme's own page: what customers are told about their accounts."""
    minutes = systems.load("auth-system").settings.read()["session_minutes"]
    return page(HERE / "templates" / "terms.html", title="Terms", session_minutes=minutes)


async def version(request: Request) -> Response:
    """Which commit answers, and which process."""
    return JSONResponse(
        {
            "commit": os.environ.get("UPGRADEPATH_COMMIT", ""),
            "process": os.environ.get("PORTAL_PROCESS", ""),
        }
    )


async def health(request: Request) -> Response:
    """200 when the database answers too, else 503 with the reason."""
    try:
        await request.app.state.database.fetchval("select 1")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
        return JSONResponse({"healthy": False, "reason": type(problem).__name__}, status_code=503)
    return JSONResponse({"healthy": True})


def create_app() -> Starlette:
    """The whole application; it connects to DATABASE_URL when the first query comes."""
    database = Database(os.environ.get("DATABASE_URL", ""))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await database.close()

    loaded = systems.load_all()
    routes: list[BaseRoute] = [
        Route("/", home, name="home"),
        Route("/terms", terms, name="terms"),
        Route("/version", version, name="version"),
        Route("/health", health, name="health"),
        Mount("/static/portal", StaticFiles(directory=HERE / "static")),
    ]
    for name, module in loaded.items():
        routes.extend(module.routes())
        routes.append(
            Mount(f"/static/{name}", StaticFiles(directory=systems.ROOT / "systems" / name / "static"))
        )
    backend = loaded["auth-system"].sessions.SessionBackend()
    app = Starlette(
        routes=routes, middleware=[Middleware(AuthenticationMiddleware, backend=backend)], lifespan=lifespan
    )
    app.state.database = database
    app.state.page = page
    app.state.quote_guards = workflows.quote_guards(workflows.rules())
    app.state.quote_hooks = [crm.export]
    return app
