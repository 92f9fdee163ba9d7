"""`make bench`: every benchmark, one after another; `python -m bench staging …`: those that are named."""

import asyncio
import sys

from bench import prisma, runs, staging
from bench.result import write
from local import kafka

_BENCHMARKS = {"runs": runs.measure, "staging": staging.measure, "prisma": prisma.measure}


def main(names: list[str]) -> None:
    """Exits 1 with the reason where Apache Kafka cannot run, or a name is not known."""
    if unknown := set(names) - set(_BENCHMARKS):
        sys.exit(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(_BENCHMARKS)}")
    chosen = names or list(_BENCHMARKS)
    reason = kafka.availability() if "runs" in chosen else None
    if reason is not None:
        sys.exit(f"the benchmarks need Apache Kafka: {reason}")
    write([result for name in chosen for result in asyncio.run(_BENCHMARKS[name]())])


main(sys.argv[1:])
