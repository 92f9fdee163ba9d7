"""Prisma's own schema engine in this process: an instance of its module, and an event loop for it."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from shared.prisma import javascript as js
from shared.prisma.archives import ENGINE
from shared.prisma.bindings import EngineHandle, imports
from shared.prisma.wasm import UNDEFINED, Instance, Undefined, load, on_thread

_TRACE = re.compile(r"^[^\S\n]++0: \w+::", re.MULTILINE)


class EngineError(RuntimeError):
    """The engine says no; `code` is Prisma's (`P3009`), if there is one."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message if code is None else f"{code}: {message}")
        self.code = code
        self.message = message


class DatabaseSaidNo(Exception):
    """An error of the database, told to the engine in the form that its own drivers use."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("message")))
        self.error = dict(error)


class Session(Protocol):
    """One connection, as the engine uses it. Each raises `DatabaseSaidNo`."""

    schema: str

    async def query(self, sql: str, arguments: list[Any]) -> dict[str, Any]:
        """`columnTypes`, `columnNames` and `rows`."""
        ...

    async def execute(self, sql: str, arguments: list[Any]) -> int:
        """The number of rows that it changed."""
        ...

    async def script(self, sql: str) -> None: ...

    async def close(self) -> None: ...


class Sessions(Protocol):
    """Where the engine gets its connections from."""

    async def connect(self) -> Session: ...

    async def connect_to_shadow(self) -> Session:
        """To an empty database that goes when the session is closed."""
        ...


class SchemaEngine:
    """One engine. A call may take turns with the database; another call must wait until it is done."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._microtasks = js.Microtasks()
        self._timers = js.Timers()
        self._requests: list[tuple[js.Promise, Coroutine[Any, Any, Any]]] = []
        self._turn = asyncio.Lock()
        self._instance: Instance | None = None
        self._handle: EngineHandle | None = None

    @property
    def broken(self) -> bool:
        """After a panic the engine is of no use any more."""
        return self._instance is not None and self._instance.broken

    async def close(self) -> None:
        """Free its memory; it must not be asked again. Safe to repeat."""
        if self._instance is not None:
            await on_thread(self._instance.close)

    async def ask(self, method: str, parameters: Mapping[str, Any]) -> Any:
        """Call one of the engine's methods. Raises `EngineError`, and `Panicked` when it broke down."""
        async with self._turn:
            if self._handle is None:
                self._handle = await self._until_settled(await on_thread(self._open))
            return await self._until_settled(
                await on_thread(self._call, f"schemaengine_{method}", self._handle.address, parameters)
            )

    def _open(self) -> js.Promise:
        self._instance = Instance(
            load(ENGINE), lambda instance: imports(instance, self._microtasks, self._timers)
        )
        door = {
            **_NAMES,
            "connect": self._asked(lambda _: self._connected(self._sessions.connect())),
            "connectToShadowDb": self._asked(lambda _: self._connected(self._sessions.connect_to_shadow())),
        }
        # Its log says again what its answers say.
        return self._call("schemaengine_new", {"datamodels": UNDEFINED}, lambda _line: UNDEFINED, door)

    def _call(self, name: str, *arguments: Any) -> js.Promise:
        assert self._instance is not None
        promise: js.Promise = self._instance.call(name, *arguments)
        self._microtasks.run()
        return promise

    async def _until_settled(self, promise: js.Promise) -> Any:
        """Work for the engine until the promise is kept: answer its queries, ring its timers."""
        working: dict[asyncio.Task[Any], js.Promise] = {}
        try:
            while promise.state == "pending":
                for asked, work in self._requests:
                    working[asyncio.create_task(work)] = asked
                self._requests.clear()
                wait_s = self._timers.next_in_s()
                if not working and wait_s is None:
                    raise EngineError("the engine waits for nothing that could happen")
                done: set[asyncio.Task[Any]] = set()
                if working:
                    done, _ = await asyncio.wait(working, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                elif wait_s:
                    await asyncio.sleep(wait_s)
                answers = [(working.pop(task), task.result()) for task in done]
                await on_thread(self._go_on, answers)
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
        if promise.state == "rejected":
            raise _engine_error(promise.value)
        return promise.value

    def _go_on(self, answers: list[tuple[js.Promise, Any]]) -> None:
        for promise, answer in answers:
            promise.resolve(answer)
        for function in self._timers.take_due():
            function()
        self._microtasks.run()

    def _asked(self, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> js.Function:
        """A function for the engine, answering the promise of `{ok, value | error}`."""

        async def answer(argument: Any) -> dict[str, Any]:
            try:
                return {"ok": True, "value": await work(argument)}
            except DatabaseSaidNo as no:
                return {"ok": False, "error": no.error}

        def call(argument: Any = UNDEFINED) -> js.Promise:
            promise = js.Promise(self._microtasks)
            self._requests.append((promise, answer(argument)))
            return promise

        return call

    async def _connected(self, connecting: Coroutine[Any, Any, Session]) -> dict[str, Any]:
        session = await connecting

        async def script(sql: str) -> Undefined:
            await session.script(sql)
            return UNDEFINED

        async def close(_: Any) -> Undefined:
            await session.close()
            return UNDEFINED

        return {
            **_NAMES,
            "queryRaw": self._asked(lambda query: session.query(query["sql"], query["args"])),
            "executeRaw": self._asked(lambda query: session.execute(query["sql"], query["args"])),
            "executeScript": self._asked(script),
            "dispose": self._asked(close),
            "startTransaction": UNDEFINED,
            "getConnectionInfo": lambda _=UNDEFINED: {
                "ok": True,
                "value": {"schemaName": session.schema, "supportsRelationJoins": True},
            },
        }


_NAMES = {"adapterName": "@prisma/adapter-pg", "provider": "postgres"}


def _engine_error(reason: Any) -> EngineError:
    if not isinstance(reason, js.Error):
        return EngineError(js.string(reason))
    code = reason.properties.get("code")
    # What follows the message is where in the engine's own code it arose.
    message = _TRACE.split(reason.message, maxsplit=1)[0].strip()
    return EngineError(message, code if isinstance(code, str) else None)
