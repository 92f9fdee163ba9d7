"""The services as processes: one of them, or all five behind one port."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import uvicorn

from services.watchdog import EXIT_STUCK, watched_loop
from shared.application import Service, web_application
from shared.contracts.topics import SERVICES
from shared.garbage import imports_left_alone
from shared.http.listener import listener

log = logging.getLogger(__name__)

_STOP_WITHIN_S = 10.0
COLLECT_AFTER_OBJECTS = 50_000
"""New ones that live on: more than a large batch of messages is made of, most of which go with it."""


def build(name: str) -> Service:
    """The service of that name, with the settings that the environment gives.

    Raises pydantic's ValidationError that names the variables which are missing or wrong. Only this one is
    imported: the others' rooms would take memory in a process of its own.
    """
    _spare_what_fastapi_looks_for()
    match name:
        case "registry":
            from services.registry.app import build as build_registry
            from services.registry.settings import RegistrySettings

            settings = RegistrySettings()
            server_url = settings.scratch_database_url
            return build_registry(settings, _order_trial(server_url), _fragment_trial(server_url))
        case "notifier":
            from services.notifier.app import build as build_notifier
            from services.notifier.settings import NotifierSettings

            return build_notifier(NotifierSettings())
        case "planner":
            from services.planner.app import build as build_planner
            from services.planner.settings import PlannerSettings

            return build_planner(PlannerSettings())
        case "executor":
            from services.executor.app import build as build_executor
            from services.executor.settings import ExecutorSettings

            return build_executor(ExecutorSettings())
        case "validator":
            from services.validator.app import build as build_validator
            from services.validator.settings import ValidatorSettings

            return build_validator(ValidatorSettings())
        case _:
            raise ValueError(f"there is no service {name!r}; there are {', '.join(SERVICES)}")


def _order_trial(server_url: str | None) -> "Callable[[Any], Coroutine[Any, Any, str | None]] | None":
    """How the registry has orders of migrations tried: as the executor applies them, on that server."""
    if not server_url:
        return None

    async def difference(orders: Any) -> str | None:
        # Most registries never need it, and it takes memory.
        from services.executor.clients.order_trial import difference_of

        return await difference_of(server_url, orders)

    return difference


def _fragment_trial(server_url: str | None) -> "Callable[..., Coroutine[Any, Any, Any]] | None":
    """How the registry has migrations tried against their fragment, on the same server."""
    if not server_url:
        return None

    async def trial(own: Any, others: Any, files: Any, files_of_others: Any) -> Any:
        # Prisma's engine takes a second or two to import: the loop has others to serve.
        module = await asyncio.to_thread(import_module, "services.executor.clients.fragment_trial")
        return await module.trial_of(server_url, own, others, files, files_of_others)

    return trial


def _spare_what_fastapi_looks_for() -> None:
    """It learns whether a model is one of pydantic 1 by importing all of that: not there is a no."""
    sys.modules.setdefault("pydantic.v1", None)  # type: ignore[arg-type]  # what Python itself keeps for it


class _Server(uvicorn.Server):
    """Says when it listens, and leaves signals to us: services must stop before the process does."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(services: Sequence[Service], host: str, port: int) -> AsyncIterator[None]:
    """Run these services and serve them on one port, from when they are ready until the block ends."""
    async with contextlib.AsyncExitStack() as stack:
        listening = stack.enter_context(socket.create_server((host, port)))
        for service in services:
            await stack.enter_async_context(service.running())
        settings = services[0].settings
        app = web_application(services)
        config = listener(app, settings.http, **settings.http.tls())
        server = _Server(config)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listening]), name="http")
            await server.ready.wait()
            with imports_left_alone(COLLECT_AFTER_OBJECTS):
                try:
                    yield
                finally:
                    server.should_exit = True


async def until_told_to_stop() -> None:
    """Returns at SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


async def serve(services: Sequence[Service], host: str, port: int) -> None:
    """`serving` until the process is told to stop. Raises SystemExit(EXIT_STUCK) for its supervisor."""
    blocked_after_s = min(service.settings.loop_blocked_after_s for service in services)
    with watched_loop(blocked_after_s):
        async with serving(services, host, port):
            broken = await _until(until_told_to_stop(), services)
            if broken is not None:
                log.critical("consuming stands still, the process ends to be started again: %r", broken)
                # What is deaf may not stop either. What it leaves then is what a crash leaves.
                hard = threading.Timer(_STOP_WITHIN_S, os._exit, [EXIT_STUCK])
                hard.daemon = True
                hard.start()
    if broken is not None:
        raise SystemExit(EXIT_STUCK)


@asynccontextmanager
async def kept_serving(
    build_all: Callable[[], Sequence[Service]], host: str, port: int, anew: asyncio.Event
) -> AsyncIterator[None]:
    """`serving`, under a supervisor: when one of the services is stuck, all are stopped and built anew.

    So they are when somebody sets `anew`.
    """
    ready, stop = asyncio.Event(), asyncio.Event()

    async def keep() -> None:
        while not stop.is_set():
            services = build_all()
            async with serving(services, host, port):
                ready.set()
                broken = await _until(_first(stop.wait(), anew.wait()), services)
                anew.clear()
                if broken is not None:
                    log.critical("consuming stands still, all services are started again: %r", broken)

    keeper = asyncio.create_task(keep(), name="keeper of the services")
    try:
        await _first(ready.wait(), asyncio.wait({keeper}))
        if keeper.done():
            keeper.result()
        yield
    finally:
        stop.set()
        await keeper


async def _until(told_to_stop: Coroutine[Any, Any, object], services: Sequence[Service]) -> Exception | None:
    """Returns none once told to stop, or what ended a consumer for good."""
    over = await _first(told_to_stop, *(service.consumer.until_broken() for service in services))
    return over if isinstance(over, Exception) else None


async def _first(*waiting: Coroutine[Any, Any, object]) -> object:
    """The result of the one that ends first."""
    tasks = [asyncio.create_task(one) for one in waiting]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
