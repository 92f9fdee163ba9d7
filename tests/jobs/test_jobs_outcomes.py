"""What a stage raises becomes a verdict or an error; what was done is journalled; secrets stay here."""

import asyncio
import logging

import pytest

from shared.clients.secret_sources import SecretPlace, UnusableSecret
from shared.clients.secrets import MissingSecret, Secrets
from shared.contracts.facts import CheckResult, ChecksFacts, Facts
from shared.contracts.stages import Errored, Failed, Finding, Outcome, Succeeded
from shared.errors import Failure, Retry
from shared.jobs.job import Job
from shared.jobs.redaction import without_secrets
from tests.jobs.job_world import DONE, World, digest, record

FINDING = Finding(kind="check", subject="unit-tests", detail="ended with exit code 1", cure="push a fix")


async def outcome_of(world: World, stage: object, **options: float) -> Outcome:
    await world.worker(stage)  # type: ignore[arg-type]
    await world.deliver(record(**options))  # type: ignore[arg-type]
    (answer,) = await world.answers()
    return answer.outcome


async def test_a_failure_is_a_verdict_with_its_findings(world: World) -> None:
    async def stage(job: Job, task: object) -> Facts:
        raise Failure("1 check failed", FINDING)

    outcome = await outcome_of(world, stage)
    assert outcome == Failed(reason="1 check failed", findings=(FINDING,))


@pytest.mark.parametrize(
    "error", [Retry("git has no answer"), ValueError("a bug"), TimeoutError("connect"), KeyError("x")]
)
async def test_anything_else_could_not_be_found_out(world: World, error: Exception) -> None:
    async def stage(job: Job, task: object) -> Facts:
        raise error

    outcome = await outcome_of(world, stage)
    assert outcome == Errored(reason=f"{type(error).__name__}: {error}")


@pytest.mark.parametrize(
    "error",
    [
        MissingSecret(
            SecretPlace("acme", "staging", "database"), ("UPGRADES_SECRET__ACME__STAGING__DATABASE",)
        ),
        UnusableSecret("the secret in /run/secrets/x holds a NUL byte; write it anew, as text"),
    ],
)
async def test_a_secret_that_is_not_there_asks_who_can_put_it_there(world: World, error: Exception) -> None:
    """An answer without findings would wait for an SRE, who keeps no partner's secrets."""

    async def stage(job: Job, task: object) -> Facts:
        raise error

    outcome = await outcome_of(world, stage)
    assert isinstance(outcome, Errored)
    (finding,) = outcome.findings
    assert finding.kind == "environment"
    assert finding.detail == str(error)
    assert "retry the stage" in finding.cure


async def test_a_stage_that_was_cancelled_from_within_errs(world: World) -> None:
    async def stage(job: Job, task: object) -> Facts:
        raise asyncio.CancelledError

    outcome = await outcome_of(world, stage)
    assert isinstance(outcome, Errored)


async def test_a_deadline_that_passes_is_an_error_that_names_it(world: World) -> None:
    async def stage(job: Job, task: object) -> Facts:
        await asyncio.Event().wait()
        return DONE

    outcome = await outcome_of(world, stage, deadline_s=0.2)
    assert outcome == Errored(reason="the stage was not done within its deadline of 0.2 s")


async def test_effects_are_journalled_before_and_after(world: World) -> None:
    async def stage(job: Job, task: object) -> Facts:
        async with job.journal.effect("push", "main"):
            (intended,) = await job.journal.of_run()
            assert intended.done_at is None
        async with job.journal.effect("activate", production=True):
            raise Retry("no answer")

    outcome = await outcome_of(world, stage)
    assert outcome == Errored(reason="Retry: no answer", touched_production=True)
    async with world.database.transaction() as tx:
        push, activate = await tx.effects(record().run_id)
    assert (push.name, push.detail, push.production, push.done_at is None) == ("push", "main", False, False)
    assert (activate.name, activate.production, activate.done_at) == ("activate", True, None)


async def test_a_failure_says_whether_production_was_touched_and_where_its_backup_is(world: World) -> None:
    backup = digest("backup")

    async def stage(job: Job, task: object) -> Facts:
        job.backup = backup
        async with job.journal.effect("migrate", production=True):
            pass
        raise Failure("unhealthy")

    outcome = await outcome_of(world, stage)
    assert outcome == Failed(reason="unhealthy", touched_production=True, backup=backup)


async def test_staging_alone_is_not_production(world: World) -> None:
    async def stage(job: Job, task: object) -> Facts:
        async with job.journal.effect("migrate staging"):
            pass
        raise Failure("no")

    outcome = await outcome_of(world, stage)
    assert outcome == Failed(reason="no", touched_production=False)


async def test_no_secret_leaves_in_an_answer_or_a_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    secrets = Secrets(None, {"UPGRADES_SECRET__ACME__STAGING__DATABASE": 'pa"ss\\wörd'})

    async def stage(job: Job, task: object) -> Facts:
        raise Retry(f"cannot log in with {secrets.of('acme', 'staging').resolve('secret:database')}")

    await world.worker(stage, redact=secrets.redact)
    with caplog.at_level(logging.DEBUG):
        await world.deliver(record())
        (answer,) = await world.answers()
    assert answer.outcome == Errored(reason="Retry: cannot log in with ***")
    assert 'pa"ss' not in caplog.text


@pytest.mark.parametrize("secret", ["check", "failed", "kind", "unit-tests", "passed", "true"])
def test_a_secret_that_is_a_word_of_ours_breaks_no_message(secret: str) -> None:
    secrets = Secrets(None, {"UPGRADES_SECRET__ACME__STAGING__ODD": secret})
    secrets.of("acme", "staging").resolve("secret:odd")
    result = CheckResult(
        name="unit-tests", kind="command", verdict="failed", detail=f"saw {secret}", duration_ms=1
    )
    failed = Failed(reason=f"a {secret}", findings=(FINDING,), results=(result,))
    clean = without_secrets(failed, secrets.of("acme", "staging").redact)
    assert Failed.model_validate_json(clean.model_dump_json()) == clean
    assert isinstance(clean, Failed)
    assert clean.reason == "a ***"
    assert clean.results[0].detail == "saw ***"
    assert clean.results[0].name == "unit-tests"


def test_facts_are_redacted_where_they_are_words() -> None:
    result = CheckResult(name="a", kind="sql", verdict="passed", detail="is 's3cret'", duration_ms=1)
    facts = ChecksFacts(stage="validate", commit="c" * 40, results=(result,))
    clean = without_secrets(Succeeded(facts=facts), lambda text: text.replace("s3cret", "***"))
    assert isinstance(clean, Succeeded)
    assert isinstance(clean.facts, ChecksFacts)
    assert clean.facts.results[0].detail == "is '***'"


def test_a_sentence_without_end_is_cut() -> None:
    clean = without_secrets(Errored(reason="x" * 1_000_000), str)
    assert isinstance(clean, Errored)
    assert len(clean.reason) < 10_000
