"""`make bench`: every benchmark, one after another; `python -m bench staging …`: those that are named."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from bench import (
    fanout,
    isolation,
    memory,
    migrate,
    prisma,
    probe,
    rebuild,
    recovery,
    restore_drill,
    runs,
    staging,
    upgrade,
)
from bench.result import Result, write
from local import kafka

_BENCHMARKS: dict[str, Callable[[runs.Size], Coroutine[Any, Any, list[Result]]]] = {
    "runs": runs.measure,
    "recovery": lambda _: recovery.measure(),
    "rebuild": lambda _: rebuild.measure(),
    "fanout": lambda _: fanout.measure(),
    "memory": lambda size: memory.measure(size.minutes, size.rate),
    "restore": lambda size: restore_drill.measure(size.rows),
    "staging": lambda _: staging.measure(),
    "prisma": lambda _: prisma.measure(),
    "probe": lambda _: probe.measure(),
    "migrate": lambda _: migrate.measure(),
    "upgrade": lambda _: upgrade.measure(),
    "isolation": lambda _: isolation.measure(),
}
_RUN: dict[str, Callable[[Coroutine[Any, Any, list[Result]]], list[Result]]] = {"rebuild": uvloop.run}
"""The loop that the command itself uses, where that is in this process."""
_ON_KAFKA = {"runs", "recovery", "rebuild", "fanout", "memory"}


def main() -> None:
    """Exits 1 with the reason where Apache Kafka cannot run."""
    size = runs.Size()
    arguments = argparse.ArgumentParser(prog="python -m bench")
    arguments.add_argument("names", nargs="*", choices=[[], *_BENCHMARKS])
    arguments.add_argument("--repeats", type=int, default=size.repeats, help="of the runs")
    arguments.add_argument("--runs", type=int, default=size.measured, help="per repeat")
    arguments.add_argument("--in-flight", type=int, default=size.in_flight, help="runs at a time")
    arguments.add_argument("--minutes", type=float, default=size.minutes, help="of load, for the memory")
    arguments.add_argument("--rate", type=float, default=size.rate, help="runs a second, for the memory")
    arguments.add_argument("--rows", type=int, default=size.rows, help="of the restore; 2000000 are 1 GB")
    given = arguments.parse_args()
    # As Ctrl-C does it: what was started ends, and its folder goes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    size = runs.Size(
        measured=given.runs,
        in_flight=given.in_flight,
        repeats=given.repeats,
        minutes=given.minutes,
        rate=given.rate,
        rows=given.rows,
    )
    chosen = given.names or list(_BENCHMARKS)
    reason = kafka.availability() if _ON_KAFKA & set(chosen) else None
    if reason is not None:
        sys.exit(f"the benchmarks need Apache Kafka: {reason}")
    write([result for name in chosen for result in _RUN.get(name, asyncio.run)(_BENCHMARKS[name](size))])


main()
