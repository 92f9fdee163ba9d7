"""A check that only a person can answer."""

from services.validator.checks.context import Context, Seen
from shared.contracts.projects import SignOffCheck


async def run(check: SignOffCheck, context: Context) -> Seen:
    """Ask; the answer comes to the planner."""
    return Seen("needs-sign-off", check.question)
