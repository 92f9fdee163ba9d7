"""`make bench`: every benchmark, one after another."""

import asyncio
import sys

from bench import runs
from bench.result import write
from local import kafka


def main() -> None:
    """Exits 1 with the reason where Apache Kafka cannot run."""
    reason = kafka.availability()
    if reason is not None:
        sys.exit(f"the benchmarks need Apache Kafka: {reason}")
    write(asyncio.run(runs.measure()))


main()
