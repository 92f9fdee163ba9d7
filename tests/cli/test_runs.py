"""`upgradepath run …`: decisions name exactly what was shown, and watching ends when a person is needed."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cli.watch import is_settled
from shared.contracts.run_words import BlockedBy
from shared.contracts.runs import ApproveCandidate, RollBackRun, RunView, SignOff, StartRun
from tests.cli import documents
from tests.cli.conftest import Type
from tests.cli.small_services import Services

RUN = documents.RUN


@pytest.fixture
def planned(services: Services) -> Services:
    plan = documents.plan()
    services.states = [documents.run()]
    services.documents[f"planner/runs/{RUN}/plan"] = {
        "plan": plan.model_dump(mode="json"),
        "digest": plan.content_digest(),
    }
    return services


def test_start_names_the_plan_that_it_has_shown(upgradepath: Type, planned: Services) -> None:
    result = upgradepath("run", "start", RUN)
    assert result.exit_code == 0, result.output
    command = planned.commands[0][0]
    assert isinstance(command, StartRun)
    assert command.plan == documents.plan().content_digest()
    assert command.plan in result.stdout


def test_start_insists_on_a_plan(upgradepath: Type, planned: Services) -> None:
    result = upgradepath("run", "start", RUN, "--plan", "0" * 64)
    assert result.exit_code == 1
    assert "another one now" in result.stderr
    assert planned.commands == []


def test_approve_shows_the_candidate_and_asks(upgradepath: Type, planned: Services) -> None:
    planned.states = [documents.waiting_for_approval()]
    declined = upgradepath("run", "approve", RUN, typed="n\n")
    assert declined.exit_code == 1
    assert planned.commands == []
    result = upgradepath("run", "approve", RUN, typed="y\n")
    assert result.exit_code == 0, result.output
    for word in (documents.CANDIDATE, "unit-tests", "http://127.0.0.1:4711", "POINT OF NO RETURN", "2" * 40):
        assert word in result.stdout
    command = planned.commands[0][0]
    assert isinstance(command, ApproveCandidate)
    assert command.candidate == documents.CANDIDATE


def test_what_is_signed_off_needs_no_sign_off_any_more(upgradepath: Type, planned: Services) -> None:
    planned.states = [documents.waiting_for_approval()]
    for shown in (upgradepath("run", "show", RUN), upgradepath("run", "approve", RUN, typed="n\n")):
        assert "validate/partner-sign-off by mira@acme.example" in shown.stdout
        assert "needs-sign-off" not in shown.stdout


def test_nobody_there_to_answer_means_no(upgradepath: Type, planned: Services) -> None:
    planned.states = [documents.waiting_for_approval()]
    assert upgradepath("run", "approve", RUN).exit_code == 1
    assert upgradepath("run", "approve", RUN, "--json").exit_code == 2
    assert planned.commands == []


@pytest.mark.parametrize("how", [("--yes",), ("--candidate", documents.CANDIDATE), ("--yes", "--json")])
def test_approve_without_being_asked(upgradepath: Type, planned: Services, how: tuple[str, ...]) -> None:
    planned.states = [documents.waiting_for_approval()]
    result = upgradepath("run", "approve", RUN, *how)
    assert result.exit_code == 0, result.output
    command = planned.commands[0][0]
    assert isinstance(command, ApproveCandidate)
    assert command.candidate == documents.CANDIDATE
    if "--json" in how:
        assert json.loads(result.stdout)["id"] == RUN


def test_without_a_candidate_there_is_nothing_to_approve(upgradepath: Type, planned: Services) -> None:
    planned.states = [documents.waiting_for_a_fix()]
    result = upgradepath("run", "approve", RUN, "--yes")
    assert result.exit_code == 1
    assert f"upgradepath run continue {RUN}" in result.stderr


def test_sign_off_reject_and_cancel(upgradepath: Type, planned: Services) -> None:
    assert upgradepath("run", "sign-off", RUN, "partner-sign-off", "--no", "--remark", "late").exit_code == 0
    assert upgradepath("run", "reject", RUN).exit_code == 0
    assert upgradepath("run", "cancel", RUN, "--reason", "not now").exit_code == 0
    signed, rejected, cancelled = (command.model_dump() for command, _ in planned.commands)
    assert isinstance(planned.commands[0][0], SignOff)
    assert (signed["check"], signed["accepted"], signed["remark"]) == ("partner-sign-off", False, "late")
    assert rejected["reason"]
    assert cancelled["reason"] == "not now"


def test_losing_writes_needs_consent(upgradepath: Type, planned: Services) -> None:
    assert upgradepath("run", "roll-back", RUN, "--restore-backup", typed="n\n").exit_code == 1
    assert planned.commands == []
    assert upgradepath("run", "roll-back", RUN, "--restore-backup", "--yes").exit_code == 0
    assert upgradepath("run", "roll-back", RUN).exit_code == 0
    restored = [command.restore_backup for command, _ in planned.commands if isinstance(command, RollBackRun)]
    assert restored == [True, False]


def test_show_tells_stages_findings_and_cures(upgradepath: Type, planned: Services) -> None:
    planned.states = [documents.waiting_for_a_fix()]
    shown = upgradepath("run", "show", RUN)
    assert shown.exit_code == 0, shown.output
    for word in ("apply\tfailed\t1\t1m15s", "users.py", "7: x", "waits for maintainer", "run continue"):
        assert word in shown.stdout
    planned.states = [documents.rolled_back()]
    assert f"as before schema: {'e' * 12}\n" in upgradepath("run", "show", RUN).stdout
    assert f"as before schema: {'e' * 64} / {'e' * 64}\n" in upgradepath("run", "show", RUN, "--all").stdout
    planned.states = [documents.waiting_for_approval()]
    shown = upgradepath("run", "show", RUN, FORCE_COLOR="1", COLUMNS="60")
    assert "unit-tests" in shown.stdout


def test_show_names_what_passed_and_tells_all_of_it_on_request(upgradepath: Type, planned: Services) -> None:
    """A Run of twenty checks fits a screen; nothing of it is lost."""
    planned.states = [documents.waiting_for_approval()]
    assert "  passed  unit-tests\n" in upgradepath("run", "show", RUN).stdout
    assert "  passed  unit-tests (command)\n" in upgradepath("run", "show", RUN, "--all").stdout


def test_who_watches_a_roll_back_reads_its_proof(upgradepath: Type, planned: Services) -> None:
    planned.states = [documents.rolled_back()]
    shown = upgradepath("run", "watch", RUN)
    assert f"as before schema: {'e' * 12}\n" in shown.stdout


def test_who_watches_reads_why_it_waits_and_each_command_once(upgradepath: Type, planned: Services) -> None:
    planned.states = [documents.waiting_for_a_fix()]
    shown = upgradepath("run", "watch", RUN)
    assert "conflict systems/auth-system/users.py\n" in shown.stdout
    assert shown.stdout.count(f"upgradepath run continue {RUN}") == 1


def test_list(upgradepath: Type, services: Services) -> None:
    services.documents["planner/runs"] = [documents.waiting_for_a_fix().model_dump(mode="json")]
    listed = upgradepath("run", "list", "--project", "acme-portal", "--status", "waiting")
    assert f"{RUN}\tacme-portal\twaiting\tapply\tauth-system 1.3.0\tmaintainer: 1 conflict" in listed.stdout
    assert services.queries == ["project=acme-portal&status=waiting"]


def test_only_a_person_or_the_end_settles_a_run() -> None:
    registry = BlockedBy(who="registry", what="the map to be held", cures=())
    assert not is_settled(documents.run("running", "deploy"))
    assert not is_settled(documents.run("running", "deploy", blocked_by=registry))
    sre = BlockedBy(who="sre", what="no executor has begun deploy", cures=())
    begins = (documents.record("deploy", "running"),)
    assert not is_settled(documents.run("running", "deploy", blocked_by=sre, stages=begins))
    assert is_settled(documents.run("waiting", "deploy", blocked_by=sre, stages=()))
    assert is_settled(documents.waiting_for_approval())
    assert is_settled(documents.rolled_back())


def test_watching_prints_one_line_per_change(upgradepath: Type, planned: Services) -> None:
    registry = BlockedBy(who="registry", what="the map to be held", cures=())
    planned.states = [
        documents.run("running", "prepare", stages=(documents.record("prepare", "running"),)),
        documents.run("running", "deploy", blocked_by=registry),
        documents.run("succeeded", "record"),
    ]
    result = upgradepath("run", "watch", RUN)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [RUN in line for line in lines] == [True] * 3
    assert "prepare  attempt 1  running" in lines[0]
    as_json = upgradepath("run", "watch", RUN, "--json").stdout.splitlines()
    assert [json.loads(line)["revision"] for line in as_json] == [1, 2, 3]


def test_watching_tells_how_far_a_stage_is_once(upgradepath: Type, planned: Services) -> None:
    effect = {"stage": "prepare", "attempt": 1, "name": "copy-rows", "done_at": None}
    planned.documents[f"executor/runs/{RUN}"] = {"effects": [{**effect, "detail": "3 of about 9 MiB: users"}]}
    planned.states = [documents.run("running", "prepare"), documents.run("succeeded", "record")]
    planned.still = 3
    said = upgradepath("run", "watch", RUN).stdout.splitlines()
    assert len(said) == 3
    assert said[1] == "  prepare: copy-rows 3 of about 9 MiB: users, under way"
    planned.states, planned.still = [documents.run("running", "prepare"), planned.states[1]], 2
    del planned.documents[f"executor/runs/{RUN}"]
    assert len(upgradepath("run", "watch", RUN).stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("command", "end", "code"),
    [
        (("start",), documents.run("succeeded", "record"), 0),
        (("start",), documents.waiting_for_approval(), 1),
        (("continue",), documents.waiting_for_a_fix(), 1),
        (("retry",), documents.rolled_back(), 1),
        (("roll-back",), documents.rolled_back(), 0),
        (("reject",), documents.rolled_back(), 0),
        (("cancel",), documents.run("cancelled"), 0),
        (("approve", "--yes"), documents.rolled_back(), 1),
    ],
)
def test_watched_commands_exit_with_the_runs_answer(
    upgradepath: Type, planned: Services, command: tuple[str, ...], end: RunView, code: int
) -> None:
    planned.states = [documents.run("running", "deploy", candidate=documents.CANDIDATE), end]
    name, *options = command
    result = upgradepath("run", name, RUN, *options, "--watch")
    assert result.exit_code == code, result.output
    assert end.status in result.stdout


def test_a_terminal_gets_a_live_table(planned: Services, world: Path) -> None:
    planned.states = [
        documents.run("running", "apply", stages=(documents.record("apply", "running"),)),
        documents.waiting_for_approval(),
    ]
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "UPGRADEPATH_WORLD": str(world),
        "TERM": "xterm",
        "COLUMNS": "120",
        "LINES": "50",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", "from cli.main import main; main()", "run", "watch", RUN],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert process.wait() == 1
    text = shown.decode()
    for stage in ("review", "prepare", "apply", "migrate", "validate", "check-workflows", "deploy", "record"):
        assert stage in text
    assert "waits for approver" in text
    assert f"upgradepath run approve {RUN}" in text


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says EIO once the other end is closed
        return b""
