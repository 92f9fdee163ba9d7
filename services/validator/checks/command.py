"""A check that passes when a command ends with 0."""

from services.validator.checks.context import Context, Seen, excerpt
from shared.clients.processes import DeadlineExceeded
from shared.clients.processes import run as run_program
from shared.contracts.projects import CommandCheck
from shared.isolation.network import Unreachable

_OUTPUT_BYTES_MAX = 4 << 20


async def run(check: CommandCheck, context: Context) -> Seen:
    """Run it in a copy of the checkout. All it prints is kept; its last lines say why it failed."""
    try:
        reached = await context.staging.destinations(check.network, context.address)
        finished = await run_program(
            check.run,
            cwd=context.checkout,
            environment=context.variables(),
            deadline_s=check.deadline_s,
            output_bytes_max=_OUTPUT_BYTES_MAX,
            isolation=context.isolation,
            destinations=reached.destinations,
        )
    except DeadlineExceeded as exceeded:
        late = f"did not end within its deadline of {check.deadline_s:g} s, and was stopped"
        return Seen("failed", _said(late, exceeded.output), await context.keep(exceeded.output))
    except Unreachable as reason:
        return Seen("failed", f"the command was not run: {reason}")
    log = await context.keep(finished.output)
    if finished.exceeded:
        return Seen("failed", _said(f"{finished.exceeded}, and was stopped", finished.output), log)
    ending = _ending(finished.exit_code)
    if finished.exit_code == 0:
        return Seen("passed", ending, log)
    shut = "".join(f"\n{sentence}" for sentence in reached.shut)
    return Seen("failed", _said(ending, finished.output) + shut, log)


def _ending(exit_code: int) -> str:
    return f"was ended by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"


def _said(ending: str, output: str) -> str:
    last = excerpt(output)
    return f"{ending}:\n{last}" if last else f"{ending}, and printed nothing"
