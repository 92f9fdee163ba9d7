"""What one Project's services wrote while it was upgraded, as it lies on the topics: for one service each."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from bench.noop import yes
from local import example
from services.planner import choices, domain
from services.planner.open_commands import open_command
from services.planner.run import Decision
from shared.contracts.envelope import Envelope, seal, to_body, to_headers
from shared.contracts.notifications import Notification, NotificationClosed, NotificationReady
from shared.contracts.policies import Policy
from shared.contracts.projects import Project, ProjectRegistered
from shared.contracts.releases import Release
from shared.contracts.runs import ApproveCandidate, PlanReady, RequestPlan, StartRun
from shared.contracts.stages import RunExecutorStage, RunValidatorStage, StageFinished, Succeeded
from shared.contracts.values import Actor, Message
from shared.contracts.version_maps import HoldVersionMap, VersionMap, VersionMapHeld, VersionMapRecorded
from shared.identity.keys import PublicKeys, SigningKey
from shared.identity.proofs import Signer, Verifier
from shared.project_file import read_project_file

RUN, PROJECT, PLAN = "run-000000000000", "acme-portal", "0" * 63 + "f"
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_DIGEST = "0" * 64
_UPGRADES = 3
"""Of the Project, after its registration."""

Wire = tuple[str, bytes, list[tuple[str, bytes]]]
"""Topic, body and headers."""
SIGNERS = {name: Signer(name, SigningKey.new(name)) for name in ("registry", "notifier", "planner")}
PROOFS = Verifier(
    PublicKeys({kid: key for one in SIGNERS.values() for kid, key in one.key.public().by_kid.items()})
)
"""What proves these histories."""


def signed(service: str, wires: Sequence[Wire]) -> list[Wire]:
    """The same as the service's relay sends them, all together."""
    headers = SIGNERS[service].all_signed(wires)
    return [
        (topic, body, [(name, value or b"") for name, value in own])
        for (topic, body, _), own in zip(wires, headers, strict=True)
    ]


async def history(service: str) -> list[Wire]:
    """The events that `service` wrote about one Project, in their order."""
    match service:
        case "planner":
            return await _planner()
        case "registry":
            return _registry()
        case "notifier":
            return _notifier()
        case _:
            raise ValueError(f"{service} has no events of its own")


def _wire(
    message: Message, service: str, cause: str, source: str, number: int, run: str | None = None
) -> Wire:
    """Of a message which a message of that id and source has caused."""
    because = Envelope(f"{cause}-{PROJECT}-{RUN}", source, "", "", _NOON, digest=_DIGEST)
    envelope = seal(message, source=f"/upgrades/{service}", now=_NOON, cause=because, correlation_id=run)
    headers = {**dict(to_headers(envelope)), "ce_id": f"{number}-{PROJECT}-{RUN}".encode()}
    return message.topic.name, to_body(message), [*headers.items()]


def _registry() -> list[Wire]:
    """The registration, and a hold and a record for each upgrade."""
    pins = dict(example.FIRST_RELEASES)
    first = VersionMap(project=PROJECT, pins=pins, revision=1, recorded_at=_NOON)
    told: list[tuple[Message, str, str]] = [
        (ProjectRegistered(project=_project(), revision=1), "register", "/http/bench"),
        (VersionMapRecorded(version_map=first), "register", "/http/bench"),
    ]
    for fence in range(2, 2 * _UPGRADES + 1, 2):
        held = first.model_copy(update={"revision": fence, "held_by": RUN})
        recorded = first.model_copy(update={"revision": fence + 1, "run_id": RUN})
        told.append((VersionMapHeld(version_map=held, fence=fence), f"hold-{fence}", "/upgrades/planner"))
        told.append(
            (VersionMapRecorded(version_map=recorded, fence=fence), f"record-{fence}", "/upgrades/planner")
        )
    return [_wire(message, "registry", cause, source, at) for at, (message, cause, source) in enumerate(told)]


def _notifier() -> list[Wire]:
    """What is told of each release, and that it is of no more use when the next one comes."""
    wires: list[Wire] = []
    before: Notification | None = None
    for minor in range(_UPGRADES + 1):
        news = Notification(
            project=PROJECT,
            system="auth-system",
            version=f"1.{minor}.0",
            pinned="1.0.0",
            change="minor",
            what_changed=tuple(f"1.{number}.0: Sessions end after an hour" for number in range(minor + 1)),
            migration_required=False,
            notified_at=_NOON,
        )
        changed: list[NotificationReady | NotificationClosed] = []
        if before is not None:
            closed = before.model_copy(update={"state": "superseded", "reason": f"{news.version} is out"})
            changed.append(NotificationClosed(notification=closed, revision=2 * minor))
        changed.append(NotificationReady(notification=news, revision=2 * minor + 1))
        wires += [
            _wire(one, "notifier", f"release-{minor}", "/upgrades/registry", one.revision) for one in changed
        ]
        before = news
    return wires


async def _planner() -> list[Wire]:
    """A Run that goes the whole way."""
    wires: list[Wire] = []
    before: Decision | None = None
    for revision, decision in enumerate([one async for one in _decisions()], 1):
        # People ask over HTTP, workers and the registry answer on topics.
        answered = before is not None and open_command(before.run) is not None
        source = "/upgrades/executor" if answered else "/http/bench"
        before = decision
        plans = [message for message in decision.sends if isinstance(message, PlanReady)]
        for message in (*plans, decision.run.changed(revision)):
            topic, body, headers = _wire(message, "planner", f"cause-{revision}", source, len(wires), RUN)
            wires.append((topic, body.replace((decision.run.plan or PLAN).encode(), PLAN.encode()), headers))
    return wires


async def _decisions() -> AsyncIterator[Decision]:
    """What is decided about a Run from the request for its plan to its end."""
    actor = Actor(id="bench", role="maintainer", projects=(PROJECT,))
    project = _project()
    releases = {("auth-system", version): _release(version) for version in ("1.2.4", "1.3.0")}
    pins = {"auth-system": "1.2.4"}
    version_map = VersionMap(project=PROJECT, pins=pins, revision=1, recorded_at=_NOON)
    ask = RequestPlan(actor=actor, project=PROJECT, systems={"auth-system": None})
    decision = choices.request_plan(ask, RUN, project, version_map, releases, _NOON, 1)
    yield decision
    on: dict[str, Any] = {"actor": actor, "project": PROJECT, "run_id": RUN}
    while not decision.run.ended:
        run, fence = decision.run, decision.run.fence + 1
        command = open_command(run)
        if isinstance(command, RunExecutorStage | RunValidatorStage):
            decision = domain.advance(run, await _answer(command), _NOON, fence, releases)
        elif isinstance(command, HoldVersionMap):
            held = version_map.model_copy(update={"held_by": run.id})
            decision = domain.on_map_held(run, held, _NOON, fence, None)
        elif command is not None:
            decision = domain.on_map_let_go(run, version_map, _NOON, fence)
        elif run.candidate is not None:
            approve = ApproveCandidate(**on, candidate=run.candidate)
            decision = choices.approve(run, approve, releases, _NOON, fence, None)
        else:
            start = StartRun(**on, plan=run.plan or _DIGEST)
            decision = choices.start(run, start, pins, None, releases, _NOON, fence)
        yield decision


async def _answer(command: RunExecutorStage | RunValidatorStage) -> StageFinished:
    return StageFinished(
        run_id=command.run_id,
        project_id=command.project_id,
        stage=command.task.stage,
        attempt=command.attempt,
        fence=command.fence,
        outcome=Succeeded(facts=await yes(_nobody(), command.task)),
        worker="bench",
        started_at=_NOON,
        finished_at=_NOON,
    )


def _nobody() -> Any:
    """Stages that do nothing ask nothing of their job."""
    return None


def _release(version: str) -> Release:
    return Release(
        system="auth-system",
        version=version,
        package=_DIGEST,
        summary="nothing",
        published_at=_NOON,
        published_by="bench",
    )


def _project() -> Project:
    definition = read_project_file((example.EXAMPLES / "project" / "upgradepath.toml").read_text())
    return Project(
        id=PROJECT,
        repository="none",
        definition=definition,
        approvers=("bench",),
        policy=Policy(single_person=True),
    )
