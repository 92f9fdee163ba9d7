"""Acme's integration: each quote becomes one line for the customer relationship software."""

import logging
from typing import Any

log = logging.getLogger("portal.crm")


def line(quote: Any) -> str:
    """`Q00042;anna@example.org;desk;3;747.00`: number, customer, product, quantity, price."""
    fields = (
        f"Q{quote.id:05d}",
        quote.email,
        quote.product,
        quote.quantity,
        f"{quote.total_cents / 100:.2f}",
    )
    return ";".join(str(field).replace(";", ",") for field in fields)


async def export(connection: Any, quote: Any) -> None:
    """Keep the line in the quote's own transaction, so that no quote is missing from the export."""
    try:
        await connection.execute(
            "insert into crm_exports (quote_id, email, line) values ($1, $2, $3)",
            quote.id,
            quote.email,
            line(quote),
        )
    except Exception:
        log.exception("crm export failed for quote %s", quote.id)
        raise
