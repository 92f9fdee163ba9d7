"""The services as processes: one of them, or all five behind one port."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import uvicorn

from services.executor import app as executor
from services.executor.settings import ExecutorSettings
from services.notifier import app as notifier
from services.notifier.settings import NotifierSettings
from services.planner import app as planner
from services.planner.settings import PlannerSettings
from services.registry import app as registry
from services.registry.settings import RegistrySettings
from services.validator import app as validator
from services.validator.settings import ValidatorSettings
from shared.application import Service, web_application
from shared.contracts.topics import SERVICES


def build(name: str) -> Service:
    """The service of that name, with the settings that the environment gives.

    Raises pydantic's ValidationError that names the variables which are missing or wrong.
    """
    match name:
        case "registry":
            return registry.build(RegistrySettings())
        case "notifier":
            return notifier.build(NotifierSettings())
        case "planner":
            return planner.build(PlannerSettings())
        case "executor":
            return executor.build(ExecutorSettings())
        case "validator":
            return validator.build(ValidatorSettings())
        case _:
            raise ValueError(f"there is no service {name!r}; there are {', '.join(SERVICES)}")


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
        app = web_application(services, services[0].settings.token_key)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        server = _Server(config)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listening]), name="http")
            await server.ready.wait()
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
    """`serving` until the process is told to stop."""
    async with serving(services, host, port):
        await until_told_to_stop()
