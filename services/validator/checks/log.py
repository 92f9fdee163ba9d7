"""A check that passes when no line of staging's log matches any of the patterns."""

import json
import sys
from pathlib import Path

from services.validator.checks.context import Context, Seen, excerpt
from shared.clients.environments import EnvironmentFailed
from shared.clients.processes import DeadlineExceeded
from shared.clients.processes import run_trusted as run_program
from shared.contracts.projects import LogCheck

_SCAN = Path(__file__).with_name("scan.py")


async def run(check: LogCheck, context: Context) -> Seen:
    """Read the log by staging's `logs` command and search it line by line."""
    try:
        text = await context.staging.logs(context.checkout, context.commit)
    except EnvironmentFailed as error:
        return Seen("failed", f"staging's log could not be read: {error}", await context.keep(error.output))
    log = await context.keep(text)
    try:
        # In a process of its own: a pattern may take for ever, and nothing could interrupt it here.
        found = await run_program(
            [sys.executable, "-I", str(_SCAN)],
            cwd=context.checkout,
            environment={"LANG": "C.UTF-8"},
            deadline_s=check.deadline_s,
            limits=context.isolation.limits,
            stdin=json.dumps({"patterns": check.absent, "text": text}).encode(),
        )
    except DeadlineExceeded:
        late = f"the patterns took longer than the deadline of {check.deadline_s:g} s"
        return Seen("failed", late, log)
    if found.exit_code == 0:
        return Seen("passed", f"none of {len(text.splitlines())} lines matches", log)
    return Seen("failed", excerpt(found.output), log)
