"""The gate's verdict in the audit log: of the command itself the log says only that it waits for this."""

from collections.abc import Sequence

from services.registry.store import PackageCheck, RegistryTransaction
from shared.audit.notes import on_command, written
from shared.contracts.envelope import Received
from shared.contracts.refusals import Refusal

_ORIGIN = "package gate"


def note_verdict(check: PackageCheck, tx: RegistryTransaction, refusals: Sequence[Refusal] = ()) -> None:
    """Note that the package was published; or refused, with these refusals."""
    received = Received(check.cause, check.command, check.cause.digest or "")
    tx.note(written(on_command(received, tx.now, refusals=refusals, origin=_ORIGIN)))
