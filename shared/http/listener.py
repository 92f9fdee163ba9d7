"""How an application is served: uvicorn, with connections that nobody can hold."""

from typing import Any

import uvicorn
from starlette.types import ASGIApp

from shared.http.connection import HEAD_BYTES_MAX, bounded
from shared.settings import HttpSettings


def listener(app: ASGIApp, settings: HttpSettings, **more: Any) -> uvicorn.Config:
    """The configuration of uvicorn; `more` goes to it as it is."""
    return uvicorn.Config(
        app,
        http=bounded(settings),
        ws="none",
        log_level="warning",
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=settings.proxies,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=2,
        **more,
    )
