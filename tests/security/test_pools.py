"""Worker pools: a partner's workers do its own stages, and another partner gains nothing from their names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.executor.app import build as build_executor
from services.executor.settings import ExecutorSettings
from services.participants import participants
from services.planner.handlers import HANDLERS, handlers
from services.planner.stages import worker_of
from services.validator.app import build as build_validator
from services.validator.settings import ValidatorSettings
from shared.contracts.documents import topics_read
from shared.contracts.envelope import receive, seal, to_body, to_headers
from shared.contracts.facts import Facts, RecordFacts
from shared.contracts.freezes import FreezeDeploys, HoldDeploys, ThawDeploys
from shared.contracts.projects import Project, ProjectRegistered
from shared.contracts.runs import RequestPlan, StartRun
from shared.contracts.stages import (
    CancelExecutorStage,
    CancelValidatorStage,
    RunExecutorStage,
    RunValidatorStage,
)
from shared.contracts.topics import (
    EXECUTOR_COMMANDS,
    POOLED,
    VALIDATOR_COMMANDS,
    all_topics,
    dead_letters,
    in_pool,
    pool_topics,
)
from shared.contracts.values import Message
from shared.errors import Failure, Reject
from shared.identity.proofs import ProofRefused
from shared.jobs.job import Job
from shared.jobs.serving import serving
from shared.pools import PoolSettings
from shared.project_file import read_project_file
from tests.jobs.job_world import RUN
from tests.jobs.job_world import project as of_job
from tests.support.golden_messages import examples
from tests.support.keys import PUBLIC_KEYS
from tests.support.planner_examples import MIRA, NOON, PROJECT, SRE, finished, project
from tests.support.planner_world import MemoryTransaction, World, _at_once
from tests.support.proofs import PROOFS, key_settings, signed

StageMessage = (RunExecutorStage, RunValidatorStage, CancelExecutorStage, CancelValidatorStage)
SENT_TO_WORKERS = {
    name: message for name, message in examples().items() if isinstance(message, (*StageMessage, HoldDeploys))
}
PROJECT_FILE = Path(__file__).resolve().parents[2] / "examples" / "project" / "upgradepath.toml"


def _pooled(registration: Project, pool: str | None) -> Project:
    return registration.with_(definition=registration.definition.with_(pool=pool))


def _in_pool(message: Message, pool: str) -> Message:
    if isinstance(message, RunExecutorStage | RunValidatorStage):
        return message.with_(project=_pooled(message.project, pool))
    return message.with_(pool=pool)


# --- names ---------------------------------------------------------------------------------------


def test_a_pool_has_topics_and_groups_of_its_own() -> None:
    names = [topic.name for topic in pool_topics("acme")]
    assert names == [
        "upgrades.executor.acme.commands.v1",
        "upgrades.validator.acme.commands.v1",
        "upgrades.executor.acme.dead.v1",
        "upgrades.validator.acme.dead.v1",
    ]
    everything = all_topics(("acme", "globex", "commands", "dead"))
    assert len({topic.name for topic in everything}) == len(everything)
    groups = [
        topic.group(one.name.partition(".")[0])
        for one in participants(("acme", "globex", "executor", "commands"))
        for topic in topics_read(one)
    ]
    assert len(set(groups)) == len(groups), "nobody shares a group with another"


def test_a_pools_workers_read_its_commands_and_nothing_else() -> None:
    found = {one.name: one for one in participants(("acme", "globex"))}
    for service in POOLED:
        worker = found[f"{service}.acme"]
        assert [topic.name for topic in topics_read(worker)] == [f"upgrades.{service}.acme.commands.v1"]
        assert {topic.name for topic in worker.writes} == {
            "upgrades.stage.results.v1",
            f"upgrades.{service}.acme.dead.v1",
            "upgrades.audit.events.v1",
        }
    planner = {topic.name for topic in found["planner"].writes}
    assert {"upgrades.executor.acme.commands.v1", "upgrades.validator.globex.commands.v1"} <= planner


@pytest.mark.parametrize("name", ["Acme", "a.b", "1a", "", "-a", "a/b", "a" * 64, "a_b", "ácme", "{pool}"])
def test_a_pool_is_named_as_other_things_are(name: str) -> None:
    text = PROJECT_FILE.read_text()
    with pytest.raises(Reject) as refused:
        read_project_file(f'pool = "{name}"\n{text}')
    assert "pool" in str(refused.value.refusals[0].field)
    if name:
        with pytest.raises(ValidationError):
            PoolSettings(pools=name)


def test_the_project_file_names_its_pool_and_the_registration_keeps_it() -> None:
    text = PROJECT_FILE.read_text()
    assert read_project_file(text).pool is None
    named = read_project_file(f'pool = "acme"\n{text}')
    assert named.pool == "acme"
    assert '"pool"' not in read_project_file(text).model_dump_json(), "bodies without a pool are as they were"
    assert PoolSettings(pools=" acme, globex ,acme,").pools == ("acme", "globex")


# --- where commands go ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SENT_TO_WORKERS)
def test_what_a_worker_is_told_goes_to_its_pool(name: str) -> None:
    message = SENT_TO_WORKERS[name]
    assert message.route() in {EXECUTOR_COMMANDS, VALIDATOR_COMMANDS}
    pooled = _in_pool(message, "acme")
    assert pooled.route() == in_pool(message.topic, "acme")
    again = type(message).read(to_body(pooled))
    assert again.route() == pooled.route(), "sent again, by whomever, it goes to the same place"


@pytest.mark.parametrize("name", SENT_TO_WORKERS)
def test_a_command_for_one_pool_is_none_for_another(name: str) -> None:
    pooled = _in_pool(SENT_TO_WORKERS[name], "acme")
    body = to_body(pooled)
    plain = to_headers(seal(pooled, source="/upgrades/planner", now=NOON))
    headers = signed("planner", pooled.route(), body, plain)
    assert PROOFS.check(receive(headers, body), pooled.route().name).envelope.proven_by == "planner"
    for elsewhere in (in_pool(pooled.topic, "globex"), pooled.topic):
        with pytest.raises(ProofRefused, match="another topic"):
            PROOFS.check(receive(headers, body), elsewhere.name)


def test_no_pool_signs_what_the_planner_says() -> None:
    command = SENT_TO_WORKERS["RunExecutorStage.v1.json"]
    plain = to_headers(seal(command, source="/upgrades/planner", now=NOON))
    for principal in ("executor.acme", "validator.acme", "executor.globex"):
        assert signed(principal, command.route(), to_body(command), plain) == plain


# --- the planner ---------------------------------------------------------------------------------


def _world(pool: str | None) -> World:
    return World(registration=_pooled(project(), pool))


def _told(world: World, message: Message, by: str | None) -> None:
    """As the consumer hands it over: with the principal that has proven it."""

    world.number += 1
    envelope = seal(message, source=f"/upgrades/{by}", now=world.now, ordinal=world.number)
    handled = HANDLERS[type(message)](message, MemoryTransaction(world, replace(envelope, proven_by=by)))
    _at_once(handled)


def _planned_in(world: World, pools: tuple[str, ...]) -> str:

    command = RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None})
    world.number += 1
    envelope = seal(command, source="/test", now=world.now, ordinal=world.number)
    asked = handlers(pools)[RequestPlan](command, MemoryTransaction(world, envelope))
    run_id: str = _at_once(asked).id
    return run_id


def test_a_plan_for_a_pool_that_is_not_there_is_refused_at_once() -> None:
    """The relay would wait for the topic, and everybody's messages behind it."""
    for pools in ((), ("globex",)):
        with pytest.raises(Reject, match="no worker pool acme") as refused:
            _planned_in(_world("acme"), pools)
        assert "topics create --pool acme" in refused.value.refusals[0].cure


@pytest.mark.parametrize(("pool", "right"), [("acme", "executor.acme"), (None, "executor")])
def test_a_result_counts_from_the_pool_that_was_told(pool: str | None, right: str) -> None:
    world = _world(pool)
    run_id = _planned_in(world, ("acme", "globex"))
    command = world.stage_command(run_id)
    assert command is not None
    result = finished(command, world.now)
    for wrong in ("executor", "executor.acme", "executor.globex", "validator", "validator.acme", None):
        if wrong == right:
            continue
        with pytest.raises(ProofRefused, match=f"is for {right} to answer"):
            _told(world, result, wrong)
        assert world.run(run_id).status == "planning"
    _told(world, result, right)
    assert world.run(run_id).status == "planned"


def test_whose_stage_it_is_follows_from_stage_and_pool() -> None:
    world = _world("acme")
    run = world.run(_planned_in(world, ("acme",)))
    assert {worker_of(run, stage) for stage in ("validate", "check-workflows")} == {"validator.acme"}
    assert {worker_of(run, stage) for stage in ("review", "deploy", "roll-back")} == {"executor.acme"}


def test_a_run_stays_in_the_pool_in_which_it_was_planned() -> None:
    """Registered anew into a foreign pool, what is under way does not go there."""

    world = _world("acme")
    run_id = _planned_in(world, ("acme", "globex"))
    command = world.stage_command(run_id)
    assert command is not None
    _told(world, finished(command, world.now), "executor.acme")
    world.tell(ProjectRegistered(project=_pooled(project(), "globex"), revision=2))
    plan = world.run(run_id).plan
    assert plan is not None
    world.tell(StartRun(actor=MIRA, project=PROJECT, run_id=run_id, plan=plan))
    following = world.stage_command(run_id)
    assert following is not None
    assert following.route().name == "upgrades.executor.acme.commands.v1"
    with pytest.raises(ProofRefused):
        _told(world, finished(following, world.now), "executor.globex")


def test_a_run_that_waits_for_a_pools_worker_says_so() -> None:
    world = _world("acme")
    run_id = _planned_in(world, ("acme",))
    world.wait_s(61)
    blocked = world.run(run_id).blocked_by
    assert blocked is not None
    assert "no executor of pool acme has begun review" in blocked.what
    assert blocked.cures == ("upgradepath topics lag --service executor.acme",)


def test_a_freeze_reaches_every_pool() -> None:

    world = _world("acme")
    for number, command in enumerate(
        (FreezeDeploys(actor=SRE, reason="tonight"), ThawDeploys(actor=SRE, reason="over")), start=1
    ):
        envelope = seal(command, source="/test", now=world.now, ordinal=number)
        already = len(world.sent)
        _at_once(handlers(("acme", "globex"))[type(command)](command, MemoryTransaction(world, envelope)))
        holds = [message for message in world.sent[already:] if isinstance(message, HoldDeploys)]
        assert [hold.pool for hold in holds] == [None, "acme", "globex"]
        ids = {seal(hold, source="/upgrades/planner", now=NOON).id for hold in holds}
        assert len(ids) == 3


# --- the workers ---------------------------------------------------------------------------------


class Watched:
    """A stage that tells whether it was ever begun: from then on secrets are resolved."""

    def __init__(self) -> None:
        self.begun = 0

    async def __call__(self, job: Job, task: Any) -> Facts:
        self.begun += 1
        return RecordFacts(removed=())


def _job(project_id: str, pool: str | None) -> Job:
    registration = _pooled(of_job(project_id), pool)
    return Job(RUN, registration, "deploy", 1, 7, 1, 60.0, journal=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("project_id", "pool"),
    [("globex", "acme"), ("acme", "globex"), ("acme", None), ("globex", None), ("acme-portal", "acme")],
)
async def test_a_pool_works_for_the_projects_that_its_operator_lists(
    project_id: str, pool: str | None
) -> None:
    """Globex registers its Project into acme's pool, with commands of its own: they never run."""
    stage = Watched()
    with pytest.raises(Failure) as refused:
        await serving("acme", ("acme",), stage)(_job(project_id, pool), None)
    assert stage.begun == 0
    assert refused.value.outcome.findings[0].subject == "pool"
    await serving("acme", ("acme",), stage)(_job("acme", "acme"), None)
    assert stage.begun == 1


async def test_common_workers_do_nothing_for_a_pool() -> None:
    stage = Watched()
    with pytest.raises(Failure, match="names pool acme, and this worker is of no pool"):
        await serving(None, (), stage)(_job("acme", "acme"), None)
    assert stage.begun == 0


@pytest.mark.parametrize("pool", ["acme", None])
async def test_a_worker_of_a_pool_reads_signs_and_buries_as_that_pool(
    postgres: Any, tmp_path: Path, pool: str | None
) -> None:
    workers: tuple[tuple[Any, Any, str], ...] = (
        (ExecutorSettings, build_executor, "executor"),
        (ValidatorSettings, build_validator, "validator"),
    )
    for settings_of, build, service in workers:
        principal = service if pool is None else f"{service}.{pool}"
        settings = settings_of(
            database_url=postgres.url(service),
            content_url="memory:///",
            token_public_keys=PUBLIC_KEYS,
            work_folder=tmp_path,
            pool=pool,
            pool_projects=() if pool is None else "acme-portal",
            **key_settings(principal),
        )
        made = build(settings)
        commands = EXECUTOR_COMMANDS if service == "executor" else VALIDATOR_COMMANDS
        topics = {name for one in made.consumer._subscribers for name in one.topic_names}
        assert topics == {in_pool(commands, pool).name}
        assert made.database.principal == principal
        keys = settings.keys()
        assert keys.signer is not None
        assert keys.signer.principal == principal
        assert dead_letters(made.database.principal).name == f"upgrades.{principal}.dead.v1"
        await made.database.close()


@pytest.mark.parametrize(
    "given", [{"pool": "acme"}, {"pool_projects": "acme-portal"}, {"pool": "a.b", "pool_projects": "acme"}]
)
def test_a_pools_worker_says_whom_it_serves(tmp_path: Path, given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ExecutorSettings(
            database_url="postgresql://nobody@127.0.0.1:1/x",
            content_url="memory:///",
            token_public_keys=PUBLIC_KEYS,
            work_folder=tmp_path,
            **key_settings("executor.acme"),
            **given,  # type: ignore[arg-type]
        )


def test_the_key_of_one_pool_is_not_that_of_another(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"not the key of executor\.globex"):
        ExecutorSettings(
            database_url="postgresql://nobody@127.0.0.1:1/x",
            content_url="memory:///",
            token_public_keys=PUBLIC_KEYS,
            work_folder=tmp_path,
            pool="globex",
            pool_projects="globex-portal",
            **key_settings("executor.acme"),
        )
