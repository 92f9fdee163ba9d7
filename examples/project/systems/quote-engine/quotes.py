"""The page on which people ask for quotes and see those that they have."""

import tomllib
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.authentication import requires
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from . import pricing

TEMPLATES = Path(__file__).parent / "templates"
CONFIG = Path(__file__).parents[2] / "config" / "quote-engine.toml"


@dataclass(frozen=True)
class Quote:
    """What `app.state.quote_hooks` are told, inside the transaction that keeps the quote."""

    id: int
    email: str
    product: str
    quantity: int
    total_cents: int


@cache
def rules() -> dict[str, Any]:
    """The price list and the discounts."""
    return tomllib.loads(CONFIG.read_text(encoding="utf-8"))


async def _page(request: Request, message: str = "", status: int = 200) -> Response:
    rows = await request.app.state.database.fetch(
        "select product, quantity, total_cents from quotes where user_id = $1 order by id desc limit 20",
        request.user.user.id,
    )
    currency = rules()["currency"]
    items = "".join(
        f"<li>{row['quantity']} × {escape(row['product'])}: {row['total_cents'] / 100:.2f} {currency}</li>"
        for row in rows
    )
    options = "".join(f"<option>{escape(product)}</option>" for product in rules()["unit_cents"])
    return request.app.state.page(
        TEMPLATES / "quotes.html",
        status=status,
        title="Quotes",
        message=message,
        items_html=items,
        options_html=options,
    )


@requires("signed-in", redirect="signin")
async def show(request: Request) -> Response:
    """The form, and the newest quotes of whoever has signed in."""
    return await _page(request)


@requires("signed-in", redirect="signin")
async def submit(request: Request) -> Response:
    """Keep a quote, unless a guard of the host application refuses it."""
    user = request.user.user
    for guard in request.app.state.quote_guards:
        if reason := guard(user):
            return await _page(request, reason, 403)
    given = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    try:
        product, quantity = given.get("product", ""), int(given.get("quantity", ""))
        cents = pricing.total_cents(rules(), product, quantity)
    except ValueError as problem:
        return await _page(request, str(problem), 422)
    async with request.app.state.database.transaction() as connection:
        quote_id = await connection.fetchval(
            "insert into quotes (user_id, product, quantity, total_cents)"
            " values ($1, $2, $3, $4) returning id",
            user.id,
            product,
            quantity,
            cents,
        )
        for hook in request.app.state.quote_hooks:
            await hook(connection, Quote(quote_id, user.email, product, quantity, cents))
    return RedirectResponse("/quotes", status_code=303)
