"""`python -m tests.faults`: try as long as you like to make the system lose, double or stick something."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from local import kafka
from tests.faults.session import Report, session


def main() -> None:
    """Exits 0 when the books are right, 1 when something is lost, doubled or stuck, 3 when it cannot run."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--injections", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=200, help="at least so many")
    parser.add_argument("--real", type=int, default=8, help="Projects with real stages among them")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument(
        "--faketime", type=Path, default=None, help="libfaketime.so.1, for the database's clock"
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="no injection begins after them")
    parser.add_argument("--keep", type=Path, default=None, help="where logs and data stay")
    given = parser.parse_args()
    if (reason := kafka.availability()) is not None:
        print(f"the rig needs Apache Kafka: {reason}", file=sys.stderr)
        raise SystemExit(3)
    # It says of every broker that we kill that it is away.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="upgradepath-faults-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(_session(given, folder, seed))
        print("\n".join(report.lines()))
        (folder / "findings.json").write_text(json.dumps(report.ledger.findings, indent=2))
    raise SystemExit(1 if report.ledger.findings else 0)


async def _session(given: argparse.Namespace, folder: Path, seed: int) -> Report:
    """Told to stop, it injects no more, and goes to its end in order; told twice, it ends at once."""
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        print("no more injections; once more, and it ends without a look at the books", flush=True)
        enough.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    return await session(
        folder,
        seed=seed,
        injections=given.injections,
        runs=given.runs,
        real=given.real,
        faketime=given.faketime,
        within_s=given.minutes * 60,
        enough=enough,
        say=lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    main()
