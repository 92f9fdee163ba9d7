"""Each kind of check: what passes, what fails and why, and what could not be found out."""

import time
from typing import Any

import pytest

from shared.contracts.facts import CheckResult
from shared.errors import Failure, Retry
from tests.validator.staging_world import DATABASE, RUN, STAGING, Staging, python

SLOW_S = 20.0


async def result_of(staging: Staging, check: dict[str, Any], **task: Any) -> CheckResult:
    try:
        facts = await staging.run({"it": check}, **task)
    except Failure as failure:
        return failure.outcome.results[0]
    return facts.results[0]


def command(program: str, **more: Any) -> dict[str, Any]:
    return {"kind": "command", "run": python(program), **more}


def sql(query: str, expect: str, **more: Any) -> dict[str, Any]:
    return {"kind": "sql", "query": query, "expect": expect, **more}


def http(path: str, **more: Any) -> dict[str, Any]:
    return {"kind": "http", "path": path, **more}


# --- command -------------------------------------------------------------------------------------


async def test_a_command_runs_in_the_checkout_and_its_output_is_kept(staging: Staging) -> None:
    result = await result_of(staging, command("print(open('greeting.txt').read())"))
    assert (result.verdict, result.kind, result.detail) == ("passed", "command", "ended with exit code 0")
    assert "hello from the checkout" in await staging.log(result.log)


async def test_a_command_sees_staging_and_nothing_of_ours(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPGRADES_TOKEN_KEY", "worker's own")
    result = await result_of(staging, command("import os; print(sorted(os.environ.items()))"))
    said = await staging.log(result.log)
    assert f"('UPGRADEPATH_RUN', '{RUN}')" in said
    assert "('UPGRADEPATH_ENVIRONMENT', 'staging')" in said
    assert f"('UPGRADEPATH_ADDRESS', '{staging.address}')" in said
    assert f"('UPGRADEPATH_COMMIT', '{staging.commit}')" in said
    # The secret's own URL is hidden wherever it is printed; what is left is the Run's suffix.
    assert "('DATABASE_URL', '***_run_0123456789ab')" in said
    assert "UPGRADES_" not in said


async def test_a_command_that_fails_says_its_last_lines(staging: Staging) -> None:
    program = "import sys\nfor n in range(500): print('line', n)\nsys.exit(3)"
    result = await result_of(staging, command(program))
    assert result.verdict == "failed"
    assert result.detail.startswith("ended with exit code 3:")
    assert result.detail.endswith("line 499")
    assert "line 400\n" not in result.detail
    assert "line 0\n" in await staging.log(result.log)


async def test_secrets_are_taken_out_of_what_a_command_prints(staging: Staging) -> None:
    result = await result_of(staging, command("import os, sys; print(os.environ['KEY']); sys.exit(1)"))
    assert "k3y-value" not in result.detail + await staging.log(result.log)
    assert "***" in result.detail


async def test_a_command_that_is_not_there_fails(staging: Staging) -> None:
    result = await result_of(staging, {"kind": "command", "run": ["no-such-program"]})
    assert result.verdict == "failed"
    assert "127" in result.detail


async def test_output_without_end_is_bounded(staging: Staging) -> None:
    result = await result_of(staging, command("import sys; sys.stdout.write('x' * (9 << 20))"))
    assert result.verdict == "passed"
    assert len(await staging.log(result.log)) == 4 << 20


async def test_a_command_beyond_its_deadline_is_stopped_and_fails(staging: Staging) -> None:
    program = f"import time; print('begun', flush=True); time.sleep({SLOW_S})"
    began_s = time.monotonic()
    result = await result_of(staging, command(program, deadline_s=1))
    assert result.verdict == "failed"
    assert result.detail == "did not end within its deadline of 1 s, and was stopped:\nbegun"
    assert time.monotonic() - began_s < SLOW_S / 2


# --- http ----------------------------------------------------------------------------------------


async def test_a_page_passes_with_its_status_and_its_words(staging: Staging) -> None:
    result = await result_of(staging, http("/signin", contains="Welcome to Acme"))
    assert (result.verdict, result.detail) == ("passed", "GET /signin answered 200")


@pytest.mark.parametrize(
    ("check", "detail"),
    [
        (http("/nowhere"), "GET /nowhere answered 404, expected 200"),
        (http("/signin", contains="Goodbye"), "GET /signin does not contain 'Goodbye'"),
        (
            http("/broken", contains="Welcome"),
            "GET /broken answered 500, expected 200 and does not contain 'Welcome'",
        ),
        (http("/old"), "GET /old answered 302 to http://elsewhere.invalid/, expected 200"),
    ],
)
async def test_a_page_that_is_not_as_expected_fails_with_what_it_is(
    staging: Staging, check: dict[str, Any], detail: str
) -> None:
    result = await result_of(staging, check)
    assert (result.verdict, result.detail) == ("failed", detail)


async def test_a_redirect_is_an_answer(staging: Staging) -> None:
    result = await result_of(staging, http("/old", status=302))
    assert result.verdict == "passed"
    assert staging.asked == ["GET /old"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [("email=a%40b&x=1", "application/x-www-form-urlencoded"), ('{"a": 1}', "application/json")],
)
async def test_a_body_is_sent_as_what_it_looks_like(staging: Staging, body: str, content_type: str) -> None:
    await result_of(staging, http("/signin", method="POST", body=body))
    assert staging.asked == [f"POST /signin {content_type} {body}"]


async def test_an_app_that_refuses_connections_fails(staging: Staging) -> None:
    result = await result_of(staging, http("/signin"), address="http://127.0.0.1:1")
    assert result.verdict == "failed"
    assert "no answer from http://127.0.0.1:1" in result.detail


async def test_an_app_without_an_address_fails(staging: Staging) -> None:
    result = await result_of(staging, http("/signin"), address=None)
    assert result.verdict == "failed"
    assert "no address" in result.detail


async def test_an_app_that_does_not_answer_in_time_fails(staging: Staging) -> None:
    result = await result_of(staging, http("/slow", deadline_s=0.3))
    assert result.verdict == "failed"


# --- sql -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expect"),
    [
        ("select count(*) from users", "1"),
        ("select count(*) from users;", "1"),
        ("select email from users -- the only one", "a@b"),
        ("select true", "true"),
        ("select null", "null"),
        ("select 1.50", "1.50"),
        ("with u as (select 1) select count(*) from u", "1"),
        ("values (date '2026-01-02')", "2026-01-02"),
        ("select current_setting('transaction_read_only')", "on"),
        ("select current_database()", DATABASE),
    ],
)
async def test_a_query_passes_when_the_text_of_its_value_is_as_expected(
    staging: Staging, query: str, expect: str
) -> None:
    result = await result_of(staging, sql(query, expect))
    assert (result.verdict, result.detail) == ("passed", f"is {expect!r}")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("select count(*) from users", "is '1', expected '0'"),
        ("select 1, 2", "gives 2 columns"),
        ("select id from users where false", "gives no row"),
        ("select generate_series(1, 3)", "gives several rows"),
        ("select nothing from users", "PostgreSQL refused the query"),
        ("insert into users values (2, 'c') returning id", "PostgreSQL refused the query"),
        ("delete from users", "gives 0 columns"),
        ("commit", "gives 0 columns"),
        ("select 1; delete from users", "PostgreSQL refused the query"),
        ("select 1) as a; delete from users; --", "PostgreSQL refused the query"),
        ("select set_config('transaction_read_only', 'off', false)", "PostgreSQL refused the query"),
        ("select nextval('no_such')", "PostgreSQL refused the query"),
    ],
)
async def test_a_query_that_is_not_as_expected_fails_and_changes_nothing(
    staging: Staging, query: str, detail: str
) -> None:
    result = await result_of(staging, sql(query, "0"))
    assert result.verdict == "failed"
    assert detail in result.detail
    assert (await result_of(staging, sql("select count(*) from users", "1"))).verdict == "passed"


async def test_a_query_beyond_its_deadline_fails(staging: Staging) -> None:
    result = await result_of(staging, sql(f"select pg_sleep({SLOW_S})", "", deadline_s=0.3))
    assert (result.verdict, result.detail) == ("failed", "was not done within its deadline of 0.3 s")


async def test_a_database_that_cannot_be_asked_is_an_error(staging: Staging, staging_secret: str) -> None:
    staging.variables.replace(STAGING, "postgresql://app:x@127.0.0.1:1/staging")
    with pytest.raises(Retry, match="cannot be asked"):
        await result_of(staging, sql("select 1", "1"))


async def test_a_database_that_is_not_there_is_an_error(staging: Staging, staging_secret: str) -> None:
    staging.variables.replace(STAGING, staging_secret.replace("/staging", "/elsewhere"))
    with pytest.raises(Retry, match="cannot be asked"):
        await result_of(staging, sql("select 1", "1"))


async def test_prismas_parameters_in_the_url_do_no_harm(staging: Staging, staging_secret: str) -> None:
    staging.variables.replace(STAGING, f"{staging_secret}?schema=public&connection_limit=3")
    assert (await result_of(staging, sql("select count(*) from users", "1"))).verdict == "passed"


# --- log and sign-off ----------------------------------------------------------------------------


async def test_a_quiet_log_passes_and_is_kept_without_secrets(staging: Staging) -> None:
    result = await result_of(staging, {"kind": "log", "absent": ["Traceback", "^FATAL"]})
    assert (result.verdict, result.detail) == ("passed", "none of 4 lines matches")
    said = await staging.log(result.log)
    assert "INFO started" in said
    assert "k3y-value" not in said


async def test_a_log_with_a_matching_line_fails_and_names_it(staging: Staging) -> None:
    result = await result_of(staging, {"kind": "log", "absent": ["Traceback", "ERR.R"]})
    assert result.verdict == "failed"
    assert result.detail == "one line matches:\nline 3: ERROR the quote failed"


async def test_a_pattern_that_is_none_fails_with_the_reason(staging: Staging) -> None:
    result = await result_of(staging, {"kind": "log", "absent": ["(unclosed"]})
    assert result.verdict == "failed"
    assert "no Python regular expression" in result.detail


async def test_a_pattern_that_takes_for_ever_fails(staging: Staging) -> None:
    logs = {"logs": python("print('a' * 60 + 'b')")}
    check = {"kind": "log", "absent": ["^(a+)+$"], "deadline_s": 1}
    with pytest.raises(Failure) as caught:
        await staging.run({"it": check}, project=staging.project(**logs))
    assert "deadline" in caught.value.outcome.results[0].detail


async def test_a_log_that_cannot_be_read_fails(staging: Staging) -> None:
    logs = {"logs": python("print('no such app'); raise SystemExit(4)")}
    with pytest.raises(Failure) as caught:
        await staging.run({"it": {"kind": "log", "absent": ["x"]}}, project=staging.project(**logs))
    (result,) = caught.value.outcome.results
    assert "could not be read" in result.detail
    assert "no such app" in result.detail


async def test_a_sign_off_asks(staging: Staging) -> None:
    result = await result_of(staging, {"kind": "sign-off", "question": "As agreed?"})
    assert (result.verdict, result.detail) == ("needs-sign-off", "As agreed?")
