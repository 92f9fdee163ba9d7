"""What a Run's page says of its backup once that is gone."""

from services.planner.run import Decision, Run, unchanged
from shared.contracts.facts import Step
from shared.contracts.stages import BackupDeleted

_GONE = "backup deleted"


def without_backup(run: Run, word: BackupDeleted) -> Decision:
    """The deletion stands among the steps of the deploy that made it; told again it changes nothing."""
    record = run.record_of("deploy")
    detail = f"{word.backup}, {word.kept_days:g} days after the Run's end: no restore is possible any more"
    if record is None or any((each.name, each.detail) == (_GONE, detail) for each in record.steps):
        return unchanged(run)
    gone = Step(name=_GONE, detail=detail, duration_ms=0)
    return Decision(run.with_record(record.with_(steps=(*record.steps, gone))))
