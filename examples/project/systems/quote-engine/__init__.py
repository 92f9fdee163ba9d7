"""quote-engine: price quotes, computed from the rules in config/quote-engine.toml."""

from starlette.routing import BaseRoute, Route

from . import quotes


def routes() -> list[BaseRoute]:
    """The pages that the host application adds to its own."""
    return [
        Route("/quotes", quotes.show, methods=["GET"], name="quotes"),
        Route("/quotes", quotes.submit, methods=["POST"]),
    ]
