"""One URL before several processes: a request goes to the service that the first part of its path names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.world import HOST

_ANSWER_WITHIN_S = 90.0
_PASSED_ON = ("content-type", "link", "retry-after", "allow")
_OURS = ("host", "content-length", "connection", "transfer-encoding")


@asynccontextmanager
async def reverse_proxy(port: int, services: Mapping[str, str]) -> AsyncIterator[None]:
    """Serve `services` (name to URL) on `port` of the loopback; 503 for one that does not answer."""
    async with httpx.AsyncClient(timeout=_ANSWER_WITHIN_S, trust_env=False) as client:

        async def forward(request: Request) -> Response:
            base = services.get(request.path_params["service"])
            if base is None:
                return JSONResponse({"title": "no such service"}, 404)
            headers = {name: value for name, value in request.headers.items() if name not in _OURS}
            url = f"{base}{request.url.path}?{request.url.query}"
            try:
                answer = await client.request(
                    request.method, url, headers=headers, content=await request.body()
                )
            except httpx.TransportError as error:
                return JSONResponse({"title": f"no answer: {error!r}"}, 503)
            kept = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
            return Response(answer.content, answer.status_code, kept)

        route = Route("/{service}/{path:path}", forward, methods=["GET", "POST"])
        config = uvicorn.Config(
            Starlette(routes=[route]), HOST, port, log_level="warning", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(), name="reverse proxy")
        try:
            yield
        finally:
            server.should_exit = True
            await serving
