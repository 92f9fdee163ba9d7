"""What a worker answers about a Run of which it has nothing, or nothing for who asks."""

from shared.audit import origins
from shared.errors import Reject, not_found


def no_job(service: str, run_id: str, hidden_of: str | None = None) -> Reject:
    """The refusal; `hidden_of`: there is one, of that Project, which is not for who asks."""
    if hidden_of is not None:
        origins.hid(hidden_of)
    return not_found(
        f"the {service} has no job of {run_id}",
        field="run_id",
        value=run_id,
        cure="`upgradepath run list` names the Runs",
    )
