"""How a process of ours ends: with its exit code, and without the interpreter's last steps."""

import atexit
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

_INTERRUPTED = 130
_UNWRITTEN = 120
"""As Python has it: the last of the output could not be written."""


@contextmanager
def ends_at_once(leave: Callable[[int], NoReturn] = os._exit) -> Iterator[None]:
    """Around all that a process does: it ends by `leave`, with the exit code that it would have had.

    Libraries in Rust have threads of their own, which hand their results to Python when they are ready. A
    thread that does so while the interpreter takes itself apart is aborted, and the process with it: exit
    code 134 after a right answer. `leave` is called before that, and after everything else: other threads
    have been waited for, and what is registered first is the last to be called.
    """
    code = 0

    def end() -> None:
        leave(_flushed(code))

    atexit.register(end)
    try:
        yield
    except SystemExit as error:
        code = _code_of(error)
        raise
    except KeyboardInterrupt:
        code = _INTERRUPTED
        raise
    except BaseException:
        code = 1
        raise


def _code_of(error: SystemExit) -> int:
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def _flushed(code: int) -> int:
    for stream in (sys.stdout, sys.stderr):
        # Closed from the beginning, as by `>&-`.
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or _UNWRITTEN
    return code
