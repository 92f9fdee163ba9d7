"""`make bench`: every benchmark, one after another."""

import asyncio

from bench import runs
from bench.result import write


def main() -> None:
    write(asyncio.run(runs.measure()))


main()
