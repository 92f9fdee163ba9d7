"""The executor's tests on servers of other major versions than the embedded one, each made for the run.

    python -m tests.servers 13 16
    python -m tests.servers 14 --plain -- tests/executor/test_restore.py -x

With `--plain` each test's database belongs to a plain role, whose URL it gets; what needs a superuser is left
out. The roles of a Project's environments are plain ones either way. 15 is Debian's, others come from Maven.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from local.postgres import EmbeddedPostgres
from tests.support import outer_postgres
from tests.support.older_postgres import DEBIANS, SERVERS, server_of

_ALL = ["tests/executor"]


def main() -> None:
    """Exits 1 where a test failed on one of the servers."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers")
    parser.add_argument("majors", type=int, nargs="+", choices=sorted([*SERVERS, 15]))
    parser.add_argument("--plain", action="store_true", help="tests get databases of plain roles")
    own, more = _split(sys.argv[1:])
    given = parser.parse_args(own)
    codes = [tested(major, more or _ALL, plain=given.plain) for major in given.majors]
    sys.exit(1 if any(codes) else 0)


def tested(major: int, arguments: list[str], *, plain: bool) -> int:
    """Run these tests on a new server of that version; the exit code of pytest."""
    with TemporaryDirectory(prefix="upgradepath-") as name:
        place = Path(name)
        programs = server_of(major, place) if major in SERVERS else DEBIANS / str(major) / "bin"
        with EmbeddedPostgres(place / "postgres", fsync=False, programs=programs) as server:
            print(f"PostgreSQL {major}{', plain roles' if plain else ''}:", flush=True)
            environment = os.environ | {outer_postgres.URL: server.url()}
            if plain:
                environment[outer_postgres.PLAIN] = "1"
            return subprocess.run(
                [sys.executable, "-m", "pytest", "-q", *arguments], env=environment, check=False
            ).returncode


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Before and after `--`: the rest is pytest's."""
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


if __name__ == "__main__":
    main()
