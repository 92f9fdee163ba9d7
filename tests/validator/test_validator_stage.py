"""The whole stage: every check runs, production stays unknown, and nothing survives."""

import asyncio
import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.validator.stage import run_checks
from shared.clients.secrets import MissingSecret
from shared.errors import Failure, Retry
from tests.validator.staging_world import KEY, PRODUCTION, RUN, STAGING, Staging, python

DETACHED = """
import os, subprocess, sys
sleeper = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(300)"],
    start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    cwd="/",
)
open("{file}", "w").write(str(sleeper.pid))
"""
EVERY_KIND: dict[str, dict[str, Any]] = {
    "quiet-log": {"kind": "log", "absent": ["Traceback"]},
    "partner-sign-off": {"kind": "sign-off", "question": "As agreed?"},
    "users-kept": {"kind": "sql", "query": "select count(*) from users", "expect": "1"},
    "sign-in": {"kind": "http", "path": "/signin", "method": "POST", "body": "a=1"},
    "page": {"kind": "http", "path": "/signin"},
    "unit-tests": {"kind": "command", "run": python("pass")},
}


def nothing_is_left(staging: Staging) -> bool:
    return not list(staging.tools.folder.glob("checks/*"))


async def test_all_checks_run_and_are_told_in_the_order_of_their_declaration(staging: Staging) -> None:
    facts = await staging.run(EVERY_KIND)
    assert [result.name for result in facts.results] == list(EVERY_KIND)
    assert {result.verdict for result in facts.results} == {"passed", "needs-sign-off"}
    assert facts.commit == staging.commit
    assert nothing_is_left(staging)


async def test_a_failed_check_stops_no_other_and_all_results_are_told(staging: Staging) -> None:
    broken = {
        "unit-tests": {"kind": "command", "run": python("raise SystemExit('2 tests failed')")},
        "errors": {"kind": "log", "absent": ["ERROR"]},
    }
    with pytest.raises(Failure) as caught:
        await staging.run(EVERY_KIND | broken)
    outcome = caught.value.outcome
    assert outcome.reason == "2 of 7 checks failed: unit-tests, errors"
    assert [finding.subject for finding in outcome.findings] == ["unit-tests", "errors"]
    assert "2 tests failed" in outcome.findings[0].detail
    assert len(outcome.results) == 7
    assert nothing_is_left(staging)


async def test_no_secret_of_production_is_ever_asked_for(staging: Staging) -> None:
    await staging.run(EVERY_KIND)
    assert staging.variables.asked == {STAGING, KEY}


async def test_the_validator_works_where_productions_secrets_are_not(staging: Staging) -> None:
    staging.variables.replace(PRODUCTION, None)
    assert len((await staging.run(EVERY_KIND)).results) == len(EVERY_KIND)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"database": "secret:production"}, "environments.staging.database"),
        ({"variables": {"OTHER_URL": "secret:production"}}, "environments.staging.variables.OTHER_URL"),
    ],
)
async def test_a_staging_that_names_productions_database_is_refused_before_anything_runs(
    staging: Staging, changes: dict[str, Any], place: str
) -> None:
    with pytest.raises(Failure) as caught:
        await staging.run(EVERY_KIND, project=staging.project(**changes))
    (finding,) = caught.value.outcome.findings
    assert (finding.kind, finding.subject) == ("project-file", place)
    assert staging.variables.asked == set()


@pytest.mark.parametrize("missing", [STAGING, KEY])
async def test_a_missing_secret_is_an_error(staging: Staging, missing: str) -> None:
    staging.variables.replace(missing, None)
    with pytest.raises(MissingSecret):
        await staging.run(EVERY_KIND)
    assert nothing_is_left(staging)


async def test_a_commit_that_is_not_there_is_an_error(staging: Staging) -> None:
    with pytest.raises(Retry, match="is not in the project's repository"):
        await staging.run(EVERY_KIND, commit="d" * 40)
    assert nothing_is_left(staging)


async def test_a_repository_that_is_not_there_is_a_verdict(staging: Staging, tmp_path: Path) -> None:
    project = staging.project().model_copy(update={"repository": str(tmp_path / "nowhere")})
    with pytest.raises(Failure, match="git fetch"):
        await staging.run(EVERY_KIND, project=project)
    assert nothing_is_left(staging)


async def test_what_a_check_detached_ends_with_the_stage(staging: Staging, tmp_path: Path) -> None:
    staging.without_isolation()
    file = tmp_path / "pid"
    await staging.run({"it": {"kind": "command", "run": python(DETACHED.format(file=file))}})
    pid = int(file.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert nothing_is_left(staging)


async def test_a_cancelled_stage_leaves_nothing(staging: Staging, tmp_path: Path) -> None:
    staging.without_isolation()
    file = tmp_path / "begun"
    os.mkfifo(file)
    program = DETACHED.format(file=tmp_path / "pid") + f"\nopen('{file}', 'w').close()\nsleeper.wait()"
    stage = asyncio.create_task(staging.run({"it": {"kind": "command", "run": python(program)}}))
    await asyncio.to_thread(file.read_text)
    stage.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert nothing_is_left(staging)


async def test_a_redo_removes_what_a_crash_left(staging: Staging) -> None:
    left = staging.tools.folder / "checks" / f"{RUN}-7" / "checkout" / "stale.txt"
    left.parent.mkdir(parents=True)
    left.write_text("from an earlier try")
    program = "import os; raise SystemExit(os.path.exists('stale.txt'))"
    await staging.run({"it": {"kind": "command", "run": python(program)}})
    assert nothing_is_left(staging)


async def test_whoever_lost_the_lease_takes_nothing_of_its_successors_away(
    staging: Staging, tmp_path: Path
) -> None:
    staging.without_isolation()
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    for pipe in (begun, go_on):
        os.mkfifo(pipe)
    asked, answered = asyncio.Event(), asyncio.Event()

    async def say_nothing_for_long(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await answered.wait()
        writer.close()

    program = f"import os; open('{begun}', 'w').close(); open('{go_on}').read(); os.stat('greeting.txt')"
    async with await asyncio.start_server(say_nothing_for_long, "127.0.0.1", 0) as app:
        address = f"http://127.0.0.1:{app.sockets[0].getsockname()[1]}"
        lost_task = staging.task({"page": {"kind": "http", "path": "/"}}, address=address)
        lost = asyncio.create_task(run_checks(staging.job(), lost_task, staging.tools))
        await asked.wait()
        job = dataclasses.replace(staging.job(), generation=2)
        task = staging.task({"it": {"kind": "command", "run": python(program)}})
        ours = asyncio.create_task(run_checks(job, task, staging.tools))
        await asyncio.to_thread(begun.read_text)
        answered.set()
        with pytest.raises(Failure):
            await lost
    await asyncio.to_thread(go_on.write_text, "")
    assert [result.verdict for result in (await ours).results] == ["passed"]
    assert nothing_is_left(staging)


async def test_what_only_reads_runs_at_the_same_time(staging: Staging) -> None:
    asleep = {"kind": "sql", "query": "select pg_sleep(0.5) is not null", "expect": "true"}
    began_s = time.monotonic()
    await staging.run({f"check-{number}": asleep for number in range(6)})
    assert time.monotonic() - began_s < 6 * 0.5


async def test_writers_run_one_after_another_and_before_the_readers(staging: Staging) -> None:
    with pytest.raises(Failure):
        await staging.run(
            {
                "read": {"kind": "http", "path": "/nowhere"},
                "first": {"kind": "http", "path": "/signin", "method": "POST", "body": "1"},
                "second": {"kind": "http", "path": "/signin", "method": "POST", "body": "2"},
            }
        )
    assert [line.split(" ")[0] + line[-1] for line in staging.asked] == ["POST1", "POST2", "GETe"]
