"""Names that a Project's own name server never answers hold up that Project alone."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from shared.acting import acting_for
from shared.addresses import resolve

_ADDRESS = "192.0.2.1"


async def _resolved_for(actor: str, host: str) -> tuple[str, ...]:
    acting_for(actor)
    return await resolve(host, 443)


async def test_slow_names_take_two_places_of_their_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four of one Project's took all the threads there were, and nobody's check found its app."""
    answered = threading.Event()
    asked = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()
    slow: list[str] = []

    def asked_system(host: str, port: int, **_: Any) -> list[Any]:
        if host.endswith(".slow.example"):
            slow.append(host)
            loop.call_soon_threadsafe(asked.release)
            answered.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (_ADDRESS, port))]

    monkeypatch.setattr(socket, "getaddrinfo", asked_system)
    waiting = [
        asyncio.create_task(_resolved_for("project mallory", f"{number}.slow.example")) for number in range(6)
    ]
    try:
        async with asyncio.timeout(5):
            for _ in range(2):
                await asked.acquire()
            # Who gives up gets no other place: the thread is not free before the name server answers.
            waiting.pop(0).cancel()
            assert await _resolved_for("project bolt", "app.bolt.example") == (_ADDRESS,)
            assert slow == ["0.slow.example", "1.slow.example"]
            answered.set()
            assert await asyncio.gather(*waiting) == [(_ADDRESS,)] * 5
    finally:
        answered.set()
