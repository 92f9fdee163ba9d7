"""The child: calls functions for its parent, one after another, under limits of memory and CPU time.

It starts with what reading needs and nothing else: no secret, no connection, no event loop.
"""

import math
import os
import pickle
import resource
import socket
import sys
from typing import Any, BinaryIO

from shared.reading.progress import now_reading, show_in

OUT_OF_MEMORY = 70
"""The exit code that says so."""
_GROWN_BYTES = 384 << 20
_FILE_BYTES_MAX = 64 << 20


def main(arguments: list[str]) -> None:
    """Serve the parent at the other end of the socket until it hangs up."""
    channel, progress, memory_bytes = map(int, arguments)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES_MAX, _FILE_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    show_in(progress)
    with socket.socket(fileno=channel) as connection, connection.makefile("rwb") as stream:
        try:
            while _serve(stream):
                pass
        except MemoryError:
            os._exit(OUT_OF_MEMORY)


def _serve(stream: Any) -> bool:
    """One call; False when it was the last."""
    now_reading("")
    try:
        function, cpu_s = pickle.load(stream)
    except EOFError:
        return False
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime + cpu_s), hard))
    error: Exception | None = None
    value: Any = None
    try:
        value = function()
    except MemoryError:
        raise
    except Exception as raised:
        error = raised
    # What a large file has made large goes back with the process.
    leaves = _peak_bytes() > _GROWN_BYTES
    _answer(stream, error, value, leaves=leaves)
    return not leaves


def _peak_bytes() -> int:
    """The most memory that this process has held. `getrusage` begins with what its parent had held."""
    with open("/proc/self/status") as status:
        told = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    # Kernels that are not Linux itself may leave the line out.
    kib = int(told[0]) if told else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib << 10


def _answer(stream: BinaryIO, error: Exception | None, value: Any, *, leaves: bool) -> None:
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)
    except Exception:
        packed = pickle.dumps(RuntimeError(repr(error)))
    # The value goes in pieces, so that neither side has it twice at once.
    pickle.dump((packed, leaves), stream)
    if error is None:
        pickle.dump(value, stream, protocol=5)
    stream.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
