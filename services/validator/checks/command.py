"""A check that passes when a command ends with 0."""

from services.validator.checks.context import Context, Seen, excerpt
from shared.clients.processes import DeadlineExceeded
from shared.clients.processes import run as run_program
from shared.contracts.projects import CommandCheck

_OUTPUT_BYTES_MAX = 4 << 20


async def run(check: CommandCheck, context: Context) -> Seen:
    """Run it in the checkout. Its whole output is kept, its last lines are the detail when it failed."""
    try:
        finished = await run_program(
            check.run,
            cwd=context.checkout,
            environment=context.variables(),
            deadline_s=check.deadline_s,
            output_bytes_max=_OUTPUT_BYTES_MAX,
        )
    except DeadlineExceeded as exceeded:
        late = f"did not end within its deadline of {check.deadline_s:g} s, and was stopped"
        return Seen("failed", _said(late, exceeded.output), await context.keep(exceeded.output))
    log = await context.keep(finished.output)
    ending = _ending(finished.exit_code)
    if finished.exit_code == 0:
        return Seen("passed", ending, log)
    return Seen("failed", _said(ending, finished.output), log)


def _ending(exit_code: int) -> str:
    return f"was ended by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"


def _said(ending: str, output: str) -> str:
    last = excerpt(output)
    return f"{ending}:\n{last}" if last else f"{ending}, and printed nothing"
