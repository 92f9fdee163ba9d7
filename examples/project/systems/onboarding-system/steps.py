"""The form of three steps: person, company, password. The last one makes the user."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from auth_system import settings as auth_settings
from auth_system import users
from notifications_system import outbox
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from . import settings

TEMPLATES = Path(__file__).parent / "templates"
STEPS = ("person", "company", "password")


async def _open(request: Request) -> Any:
    """The invitation, if its link is still good."""
    return await request.app.state.database.fetchrow(
        "select id, token, email, name, company, phone, step from invitations"
        " where token = $1 and completed_at is null and expires_at > current_timestamp",
        request.path_params["token"],
    )


def _page(request: Request, row: Any, message: str = "") -> Response:
    return request.app.state.page(
        TEMPLATES / f"{STEPS[row['step']]}.html",
        status=422 if message else 200,
        title="Welcome",
        step=row["step"] + 1,
        steps=len(STEPS),
        message=message,
        email=row["email"],
        name=row["name"] or "",
        company=row["company"] or "",
        phone=row["phone"] or "",
    )


def _gone(request: Request) -> Response:
    return request.app.state.page(TEMPLATES / "gone.html", status=410, title="Invitation")


async def show(request: Request) -> Response:
    """The step at which this invitation stands."""
    row = await _open(request)
    return _page(request, row) if row else _gone(request)


async def submit(request: Request) -> Response:
    """Keep this step's answers and go on, or say what is missing."""
    row = await _open(request)
    if row is None:
        return _gone(request)
    given = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    database = request.app.state.database
    if STEPS[row["step"]] == "password":
        return await _complete(request, row, given.get("password", ""))
    if STEPS[row["step"]] == "person":
        if not given.get("name", "").strip():
            return _page(request, row, "Please tell us your name.")
        await database.execute(
            "update invitations set name = $2, step = 1 where id = $1", row["id"], given["name"].strip()
        )
    else:
        await database.execute(
            "update invitations set company = $2, phone = $3, step = 2 where id = $1",
            row["id"],
            given.get("company", ""),
            given.get("phone", ""),
        )
    return RedirectResponse(f"/onboarding/{row['token']}", status_code=303)


async def _complete(request: Request, row: Any, password: str) -> Response:
    """Make the user, close the invitation and queue the welcome, all or nothing."""
    shortest = auth_settings.read()["password_min_length"]
    if len(password) < shortest:
        return _page(request, row, f"The password needs {shortest} characters or more.")
    async with request.app.state.database.transaction() as connection:
        if await users.by_email(connection, row["email"]):
            return _page(request, row, "There is an account with this address already.")
        await users.create(connection, row["email"], row["name"], password)
        await connection.execute(
            "update invitations set completed_at = current_timestamp where id = $1", row["id"]
        )
        await outbox.queue(
            connection,
            row["email"],
            settings.read()["welcome_subject"],
            f"Good to have you here, {row['name']}.",
        )
    return RedirectResponse("/signin", status_code=303)
