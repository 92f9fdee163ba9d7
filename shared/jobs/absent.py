"""What a worker answers about a Run of which it has nothing, or nothing for who asks."""

from shared.errors import Reject, not_found


def no_job(service: str, run_id: str) -> Reject:
    """The refusal."""
    return not_found(
        f"the {service} has no job of {run_id}",
        field="run_id",
        value=run_id,
        cure="`upgradepath run list` names the Runs",
    )
