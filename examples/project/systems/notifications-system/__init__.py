"""notifications-system: an outbox of notices, and the page that shows somebody theirs."""

from starlette.routing import BaseRoute, Route

from . import inbox


def routes() -> list[BaseRoute]:
    """The pages that the host application adds to its own."""
    return [
        Route("/notices", inbox.show, methods=["GET"], name="notices"),
        Route("/notices/{notice_id:int}/read", inbox.mark_read, methods=["POST"]),
    ]
