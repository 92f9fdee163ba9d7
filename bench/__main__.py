"""`make bench`: every benchmark, one after another; `python -m bench staging …`: those that are named."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from bench import fanout, prisma, probe, rebuild, runs, staging
from bench.result import Result, write
from local import kafka


def main() -> None:
    """Exits 1 with the reason where Apache Kafka cannot run."""
    size = runs.Size()
    arguments = argparse.ArgumentParser(prog="python -m bench")
    known = ["runs", "rebuild", "fanout", "staging", "prisma", "probe"]
    arguments.add_argument("names", nargs="*", choices=[[], *known])
    arguments.add_argument("--repeats", type=int, default=size.repeats, help="of the runs")
    arguments.add_argument("--runs", type=int, default=size.measured, help="per repeat")
    arguments.add_argument("--in-flight", type=int, default=size.in_flight, help="runs at a time")
    given = arguments.parse_args()
    size = runs.Size(measured=given.runs, in_flight=given.in_flight, repeats=given.repeats)
    benchmarks: dict[str, Callable[[], Coroutine[Any, Any, list[Result]]]] = {
        "runs": partial(runs.measure, size),
        "rebuild": rebuild.measure,
        "fanout": fanout.measure,
        "staging": staging.measure,
        "prisma": prisma.measure,
        "probe": probe.measure,
    }
    chosen = given.names or list(benchmarks)
    reason = kafka.availability() if {"runs", "rebuild", "fanout"} & set(chosen) else None
    if reason is not None:
        sys.exit(f"the benchmarks need Apache Kafka: {reason}")
    write([result for name in chosen for result in asyncio.run(benchmarks[name]())])


main()
