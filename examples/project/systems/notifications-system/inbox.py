"""The page on which people read their notices."""

import tomllib
from html import escape
from pathlib import Path

from starlette.authentication import requires
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

TEMPLATES = Path(__file__).parent / "templates"
CONFIG = Path(__file__).parents[2] / "config" / "notifications-system.toml"


@requires("signed-in", redirect="signin")
async def show(request: Request) -> Response:
    """The newest notices of whoever has signed in."""
    config = tomllib.loads(CONFIG.read_text(encoding="utf-8"))
    rows = await request.app.state.database.fetch(
        "select id, subject, body, read_at from notices where recipient = $1 order by id desc limit $2",
        request.user.identity,
        config["page_size"],
    )
    items = "".join(
        f'<li class="{"read" if row["read_at"] else "unread"}">'
        f"<b>{escape(row['subject'])}</b> {escape(row['body'])}"
        f'<form method="post" action="/notices/{row["id"]}/read"><button>Read</button></form></li>'
        for row in rows
    )
    return request.app.state.page(TEMPLATES / "notices.html", title="Notices", items_html=items)


@requires("signed-in", redirect="signin")
async def mark_read(request: Request) -> Response:
    """Mark one of one's own notices as read."""
    await request.app.state.database.execute(
        "update notices set read_at = current_timestamp where id = $1 and recipient = $2 and read_at is null",
        request.path_params["notice_id"],
        request.user.identity,
    )
    return RedirectResponse("/notices", status_code=303)
