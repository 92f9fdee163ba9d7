"""Attack every route of a running system with what its OpenAPI document allows, and with what it does not.

The suite does it with few examples. The long form, against a world that runs:

    python -m tests.security.documents_attacked URL TOKEN --examples 200 --seed 7
"""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.contracts.topics import SERVICES

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
# Below the rate at which one actor is asked to wait: else nothing but 429 would be seen.
_RATE = "90/s"


def attack(url: str, token: str, service: str, *, examples: int, seed: int) -> tuple[int, str]:
    """The exit code of schemathesis (0: no server error, no undocumented answer), and what it said."""
    command = [
        str(Path(sys.executable).with_name("st")),
        *("run", f"{url}/openapi.json", "--include-path-regex", f"^/{service}/"),
        *("--header", f"Authorization: Bearer {token}", "--checks", ",".join(CHECKS)),
        *("--phases", "coverage,fuzzing", "--max-examples", str(examples), "--seed", str(seed)),
        *("--rate-limit", _RATE, "--no-shrink", "--continue-on-failure", "--warnings", "off"),
    ]
    # It keeps what it has found beside it.
    with TemporaryDirectory(prefix="schemathesis-") as folder:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return done.returncode, done.stdout + done.stderr


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    failed = False
    for service in SERVICES:
        code, said = attack(asked.url, asked.token, service, examples=asked.examples, seed=asked.seed)
        print(said)
        failed |= code != 0
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
