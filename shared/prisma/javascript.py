"""As much of JavaScript's values and promises as Prisma's engine asks for.

Objects are dict, arrays list, strings str, numbers int or float, functions whatever can be called; `null` is
None. What JavaScript tells apart and Python does not has a class here.
"""

import math
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from shared.prisma.wasm import UNDEFINED, Undefined

Function = Callable[..., Any]


class BigInt(int):
    """A `bigint`, which is no number to JavaScript."""


class Map(dict[Any, Any]):
    """A `Map`, which is no plain object."""


class Error(Exception):
    """An `Error`, as a value or thrown."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.properties: dict[str, Any] = {"name": "Error", "message": message}

    @property
    def message(self) -> str:
        return string(self.properties["message"])


class Iterator:
    """What `Symbol.iterator` gives: `next()` answers value and done."""

    def __init__(self, values: list[Any]) -> None:
        self._values = iter(values)

    def next(self) -> dict[str, Any]:
        for value in self._values:
            return {"value": value, "done": False}
        return {"value": UNDEFINED, "done": True}


class Microtasks:
    """What is to be called as soon as the module has returned, in order."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, task: Callable[[], None]) -> None:
        self._waiting.append(task)

    def run(self) -> None:
        while self._waiting:
            self._waiting.popleft()()


class Timers:
    """What `setTimeout` has been asked for: seconds of the monotonic clock, and what to call."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Function]] = []

    def add(self, function: Function, delay_ms: int) -> float:
        self.waiting.append((time.monotonic() + delay_ms / 1000, function))
        return float(len(self.waiting))

    def take_due(self) -> list[Function]:
        now = time.monotonic()
        due = [function for at, function in self.waiting if at <= now]
        self.waiting = [(at, function) for at, function in self.waiting if at > now]
        return due

    def next_in_s(self) -> float | None:
        return max(0.0, min(at for at, _ in self.waiting) - time.monotonic()) if self.waiting else None


class Promise:
    """A promise; its callbacks are microtasks."""

    def __init__(self, microtasks: Microtasks) -> None:
        self._microtasks = microtasks
        self._callbacks: list[Callable[[], None]] = []
        self.state: str = "pending"
        self.value: Any = UNDEFINED

    def resolve(self, value: Any = UNDEFINED) -> None:
        if self.state != "pending":
            return
        if isinstance(value, Promise):
            value.then(self.resolve, self.reject)
        else:
            self._settle("fulfilled", value)

    def reject(self, reason: Any = UNDEFINED) -> None:
        if self.state == "pending":
            self._settle("rejected", reason)

    def then(self, fulfilled: Function, rejected: Function | None = None) -> "Promise":
        following = Promise(self._microtasks)

        def call() -> None:
            handler = fulfilled if self.state == "fulfilled" else rejected
            if handler is None:
                following.reject(self.value)
            else:
                following.resolve(handler(self.value))

        if self.state == "pending":
            self._callbacks.append(call)
        else:
            self._microtasks.add(call)
        return following

    def _settle(self, state: str, value: Any) -> None:
        self.state, self.value = state, value
        for callback in self._callbacks:
            self._microtasks.add(callback)
        self._callbacks.clear()


class RegExp:
    """A regular expression, written in JavaScript."""

    def __init__(self, pattern: str, flags: str) -> None:
        pattern = re.sub(r"\(\?<(?![=!])", "(?P<", pattern)
        self._pattern = re.compile(pattern, re.IGNORECASE if "i" in flags else 0)

    def exec(self, text: str) -> list[Any] | None:
        found = self._pattern.search(text)
        if found is None:
            return None
        return [found[0], *(UNDEFINED if group is None else group for group in found.groups())]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool | BigInt)


def is_object(value: Any) -> bool:
    """`typeof value === "object"` and not null."""
    primitive = isinstance(value, str | int | float | Undefined) or value is None
    return not primitive and not callable(value)


def same(one: Any, other: Any) -> bool:
    """`===`: primitives by kind and value, all else by identity."""
    if is_number(one) and is_number(other):
        return bool(one == other)
    if isinstance(one, str | bool | BigInt) or isinstance(other, str | bool | BigInt):
        return type(one) is type(other) and bool(one == other)
    return one is other


def get(owner: Any, key: Any) -> Any:
    """`owner[key]`."""
    if isinstance(owner, dict) and not isinstance(owner, Map):
        return owner.get(key, UNDEFINED)
    if isinstance(owner, list | bytearray):
        if key == "length":
            return len(owner)
        if key is SYMBOL_ITERATOR:
            return lambda: Iterator(list(owner))
        return owner[int(key)] if 0 <= int(key) < len(owner) else UNDEFINED
    if isinstance(owner, Map) and key is SYMBOL_ITERATOR:
        return lambda: Iterator([list(pair) for pair in owner.items()])
    if isinstance(owner, Iterator) and key == "next":
        return owner.next
    if isinstance(owner, Error):
        return owner.properties.get(key, UNDEFINED)
    if isinstance(owner, Exception) and key == "stack":
        return repr(owner)
    return UNDEFINED


def put(owner: Any, key: Any, value: Any) -> None:
    """`owner[key] = value`."""
    if isinstance(owner, list):
        owner.extend([UNDEFINED] * (int(key) + 1 - len(owner)))
    (owner.properties if isinstance(owner, Error) else owner)[key] = value


def has(owner: Any, key: Any) -> bool:
    """`key in owner`."""
    return not isinstance(get(owner, key), Undefined)


def number(value: Any) -> float:
    """`Number(value)`."""
    if value is None or value is False or value == "":
        return 0.0
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def string(value: Any) -> str:
    """`String(value)`."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case float() if value.is_integer():
            return str(int(value))
        case Error():
            return f"{string(value.properties['name'])}: {value.message}"
        case list():
            return ",".join(string(each) for each in value)
        case dict():
            return "[object Object]"
        case _:
            return str(value)


SYMBOL_ITERATOR = object()
