"""squawk, the linter of PostgreSQL migrations: what it says of scripts, line by line."""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from shared.clients.processes import DeadlineExceeded, run_trusted
from shared.contracts.impact import Lint
from shared.errors import Retry
from shared.isolation.limits import Limits

_DEADLINE_S = 60.0
_FINDINGS = 1
# Matters of taste, or of what we do ourselves: every session of ours has both timeouts.
_EXCLUDED = (
    "require-lock-timeout", "require-statement-timeout", "prefer-robust-stmts", "prefer-bigint-over-int",
    "prefer-bigint-over-smallint", "prefer-identity", "prefer-text-field", "prefer-timestamp-tz",
    "ban-char-field",
)  # fmt: skip


async def lint(scripts: Mapping[str, str], *, server_version: int) -> dict[str, tuple[Lint, ...]]:
    """What squawk says of each script (name to SQL), for that major version of PostgreSQL.

    Raises Retry when squawk cannot be run.
    """
    if not scripts:
        return {}
    names = list(scripts)
    with tempfile.TemporaryDirectory(prefix="upgradepath-squawk-") as folder:
        # By number: a folder of a Project may have any name.
        files = {f"{number}.sql": name for number, name in enumerate(names)}
        await asyncio.to_thread(_write, Path(folder), {file: scripts[name] for file, name in files.items()})
        found = await _run(Path(folder), list(files), server_version)
    lints: dict[str, list[Lint]] = {name: [] for name in names}
    for each in found:
        lints[files[Path(str(each["file"])).name]].append(
            Lint(
                line=int(str(each["line"])) + 1,
                rule=str(each["rule_name"]),
                message=str(each["message"]),
                cure=str(each.get("help") or ""),
            )
        )
    return {name: tuple(each) for name, each in lints.items()}


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


async def _run(folder: Path, files: list[str], server_version: int) -> list[dict[str, object]]:
    program = _program()
    excluded = ",".join(_EXCLUDED)
    options = (
        "--reporter",
        "json",
        "--assume-in-transaction",
        f"--pg-version={server_version}",
        "-e",
        excluded,
    )
    try:
        finished = await run_trusted(
            [program, *options, *files],
            cwd=folder,
            environment={"PATH": os.defpath, "HOME": str(folder)},
            deadline_s=_DEADLINE_S,
            limits=Limits(),
            output_bytes_max=1 << 24,
            separate=True,
        )
        if finished.exit_code not in (0, _FINDINGS):
            raise Retry(f"squawk ended with {finished.exit_code}: {finished.output.strip()[-500:]}")
        found: list[dict[str, object]] = json.loads(finished.stdout or b"[]")
    except DeadlineExceeded as error:
        raise Retry(f"squawk did not end within {_DEADLINE_S:g} s") from error
    except ValueError as error:
        raise Retry(f"squawk did not answer in JSON: {error}") from error
    return found


def _program() -> str:
    """It is installed beside this Python."""
    beside = Path(sys.executable).with_name("squawk")
    found = str(beside) if beside.exists() else shutil.which("squawk")
    if found is None:
        raise Retry("squawk is not installed: make setup")
    return found
