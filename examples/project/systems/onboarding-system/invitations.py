"""Invitations: a signed-in user sends a link that is good for some days."""

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.authentication import requires
from starlette.requests import Request
from starlette.responses import Response

from . import settings

TEMPLATES = Path(__file__).parent / "templates"


async def invite(database: Any, email: str, invited_by_id: int | None) -> str:
    """Keep an invitation and return its token."""
    token = secrets.token_urlsafe(16)
    await database.execute(
        "insert into invitations (token, email, invited_by_id, expires_at)"
        " values ($1, $2, $3, current_timestamp + make_interval(days => $4))",
        token,
        email.lower(),
        invited_by_id,
        settings.read()["invitation_days"],
    )
    return token


def _page(request: Request, link: str) -> Response:
    return request.app.state.page(TEMPLATES / "invitations.html", title="Invite", link=link)


@requires("signed-in", redirect="signin")
async def show(request: Request) -> Response:
    """The form to invite somebody."""
    return _page(request, "")


@requires("signed-in", redirect="signin")
async def submit(request: Request) -> Response:
    """Invite somebody, and show the link to hand on."""
    given = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    token = await invite(request.app.state.database, given.get("email", ""), request.user.user.id)
    return _page(request, f"/onboarding/{token}")
