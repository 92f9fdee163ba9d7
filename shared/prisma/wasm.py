"""WebAssembly modules in this process: compiled once, kept compiled, run on one thread.

wasmtime itself comes with the first of them: a service that has had no schema yet does without its memory.

One thread for all of them, because wasmtime keeps the error of a callback in one place for the whole process.

A module is a wall by itself: what breaks down in it is an error here and nothing else, so that people's
schemas need no child of their own for it. It has bounds of memory and of time.
"""

import asyncio
import atexit
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from shared.cache import cache_folder, keep
from shared.errors import not_found
from shared.prisma.archives import VERSION, Archive, module_bytes

if TYPE_CHECKING:
    import wasmtime

_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prisma")
_ADDRESS = 0xFFFFFFFF
CALL_S_MAX = 20.0
"""Of one call, from the first instruction to the last: others wait for it."""
_MEMORY_BYTES_MAX = 1 << 30
_P = ParamSpec("_P")
_T = TypeVar("_T")


_engines: list["wasmtime.Engine"] = []
"""Those of the modules that were loaded."""


class Undefined:
    """JavaScript's `undefined`; its `null` is None."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = Undefined()


class Panicked(RuntimeError):
    """The module broke down: its instance is of no use any more, and another one is."""


class TookTooLong(Panicked):
    """The module did not answer in time."""


class PinMoved(RuntimeError):
    """The module wants other imports than those that were written for the pinned version."""


async def on_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call what runs WebAssembly without blocking the event loop. A call of a module ends in `CALL_S_MAX`."""
    job = partial(_within_time, partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(_THREAD, job)


def _within_time(function: Callable[[], _T]) -> _T:
    timer = threading.Timer(CALL_S_MAX, _interrupt)
    timer.daemon = True
    timer.start()
    try:
        return function()
    finally:
        timer.cancel()


def _interrupt() -> None:
    """End the call that is under way: there is one at the most."""
    for engine in _engines:
        engine.increment_epoch()


@dataclass(frozen=True)
class Compiled:
    """A module ready to be instantiated."""

    engine: "wasmtime.Engine"
    module: "wasmtime.Module"


@cache
def load(archive: Archive) -> Compiled:
    """The compiled module: seconds the first time on a machine, milliseconds from then on.

    Raises `Reject` when the archive cannot be had or the cache cannot be written.
    """
    import wasmtime

    data = module_bytes(archive)
    folder = cache_folder() / "wasmtime"
    settings, text = folder / "cache.toml", f"[cache]\ndirectory = '{folder}'\n".encode()
    try:
        if not settings.is_file() or settings.read_bytes() != text:
            keep(settings, text)
    except OSError as error:
        cure = "set UPGRADES_CACHE to a folder that can be written"
        reason = f"compiled modules cannot be kept: {error}"
        raise not_found(reason, field="UPGRADES_CACHE", value=folder, cure=cure) from error
    config = wasmtime.Config()
    config.wasm_reference_types = True
    config.cache = str(settings)
    config.epoch_interruption = True
    engine = wasmtime.Engine(config)
    _engines.append(engine)
    module = wasmtime.Module(engine, data)
    # Left to the interpreter's end, they find wasmtime itself half gone, and say so.
    for each in (engine, module):
        atexit.register(each.close)
    return Compiled(engine, module)


class Instance:
    """One instance of a module that wasm-bindgen made.

    `imports` makes what the module calls, by name; all of it is called with and answers plain values.
    """

    def __init__(
        self, compiled: Compiled, imports: Callable[["Instance"], Mapping[str, Callable[..., Any]]]
    ) -> None:
        import wasmtime

        known = {**imports(self), "__wbindgen_init_externref_table": self._init_table}
        wanted = {str(each.name) for each in compiled.module.imports}
        if wanted != known.keys():
            raise PinMoved(
                f"Prisma's module is not {VERSION}, for which this was written:"
                f" it wants {sorted(wanted - known.keys())}, and not {sorted(known.keys() - wanted)}"
            )
        self.broken = False
        self._store = wasmtime.Store(compiled.engine)
        self._store.set_limits(memory_size=_MEMORY_BYTES_MAX)
        # Its start is a call too.
        self._store.set_epoch_deadline(1)
        linker = wasmtime.Linker(compiled.engine)
        for each in compiled.module.imports:
            assert isinstance(each.type, wasmtime.FuncType)
            linker.define_func(each.module, str(each.name), each.type, known[str(each.name)])
        exports: Any = linker.instantiate(self._store, compiled.module).exports(self._store)
        self._exports = exports
        self._memory: wasmtime.Memory = exports["memory"]
        self._table: wasmtime.Table = exports["__wbindgen_externrefs"]
        self.call("__wbindgen_start")

    def call(self, name: str, *arguments: Any) -> Any:
        """Call an export. Raises `Panicked`, after which the instance must not be used again."""
        if self.broken:
            raise Panicked("this instance broke down before")
        self._store.set_epoch_deadline(1)
        try:
            return self._exports[name](self._store, *arguments)
        except Exception as error:
            self.broken = True
            if _was_interrupted(error):
                raise TookTooLong(f"it took more than {CALL_S_MAX:g} s") from error
            raise error if isinstance(error, Panicked) else Panicked(str(error)) from error

    def close(self) -> None:
        """Free the module's memory: what it may call refers to it, so that it never goes by itself."""
        self.broken = True
        self._store.close()

    def write(self, data: bytes) -> tuple[int, int]:
        """Put bytes into the module's memory, for it to free: address and length."""
        at = self.call("__wbindgen_malloc", len(data), 1) & _ADDRESS
        self._memory.write(self._store, data, at)
        return at, len(data)

    def poke(self, at: int, data: bytes) -> None:
        """Overwrite bytes of the module's memory."""
        self._memory.write(self._store, data, at & _ADDRESS)

    def read(self, at: int, length: int) -> bytes:
        """Bytes of the module's memory, copied."""
        at &= _ADDRESS
        return bytes(self._memory.read(self._store, at, at + length)) if length else b""

    def text(self, at: int, length: int) -> str:
        return self.read(at, length).decode()

    def take_text(self, at: int, length: int) -> str:
        """A string that the module gave away, freed."""
        text = self.text(at, length)
        self.call("__wbindgen_free", at, length, 1)
        return text

    def put(self, value: Any) -> int:
        """Put a JavaScript value into the module's table: its index."""
        index: int = self.call("__externref_table_alloc")
        self._table.set(self._store, index, value)
        return index

    def take(self, index: int) -> Any:
        """Take a JavaScript value out of the module's table."""
        import wasmtime

        value = self._table.get(self._store, index)
        self.call("__externref_table_dealloc", index)
        # wasmtime gives what Python counts as false in a wrapping.
        return value.value if isinstance(value, wasmtime.Val) else value

    def _init_table(self) -> None:
        first = self._table.grow(self._store, 4, None)
        self._table.set(self._store, 0, UNDEFINED)
        for offset, value in enumerate((UNDEFINED, None, True, False)):
            self._table.set(self._store, first + offset, value)


def _was_interrupted(error: Exception) -> bool:
    import wasmtime

    return isinstance(error, wasmtime.Trap) and error.trap_code == wasmtime.TrapCode.INTERRUPT
