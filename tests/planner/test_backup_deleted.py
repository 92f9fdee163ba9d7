"""A Run's page tells that its backup is gone, once however often it is said."""

from services.planner.backups import without_backup
from shared.contracts.stages import BackupDeleted
from tests.support.golden_messages import GOLDEN
from tests.support.planner_histories import Recorder, success

DELETED = BackupDeleted.read((GOLDEN / "BackupDeleted.v1.json").read_bytes())


def test_the_deletion_stands_among_the_steps_of_the_deploy_once() -> None:
    """Catches a page that promises a restore which nobody can do, and one line for each repetition."""
    recorder = Recorder()
    success(recorder)
    run = recorder.world.runs[recorder.run_id]
    assert run.status == "succeeded"
    told = without_backup(run, DELETED).run
    (record,) = [each for each in told.view().stages if each.stage == "deploy"]
    assert record.steps[-1].name == "backup deleted"
    assert record.steps[-1].detail.startswith(f"{DELETED.backup}, 30 days after the Run's end")
    assert (told.status, told.ended_at) == (run.status, run.ended_at)
    assert without_backup(told, DELETED).run == told


def test_a_run_without_a_deploy_says_nothing_of_a_backup() -> None:
    recorder = Recorder()
    success(recorder)
    run = recorder.world.runs[recorder.run_id]
    early = run.with_(stages=tuple(each for each in run.stages if each.stage != "deploy"))
    assert without_backup(early, DELETED).run == early
