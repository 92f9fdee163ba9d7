"""Everything over the topics alone: the same verdicts as over HTTP, and what is broken stops nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from cli.tracing import Trusted, read_papers, trace
from local.example import package_folder
from shared.contracts.projects import Project, ProjectRegistered, RegisterProject
from shared.contracts.refusals import CommandRefused, Refusal
from shared.contracts.releases import PublishRelease, ReleasePublished, ReleaseWithdrawn, WithdrawRelease
from shared.contracts.runs import (
    ApproveCandidate,
    CancelRun,
    ContinueRun,
    RejectCandidate,
    RequestPlan,
    RetryStage,
    RollBackRun,
    RunChanged,
    RunView,
    SignOff,
    StartRun,
)
from shared.contracts.topics import (
    PROJECT_COMMANDS,
    RELEASE_COMMANDS,
    RUN_COMMANDS,
    STAGE_RESULTS,
    dead_letters,
)
from shared.contracts.values import Command, Message
from shared.identity.keys import PublicKeys
from shared.packages.archive import pack_folder
from shared.signing.library_keys import LibraryKeys
from tests.journeys.conftest import Portals
from tests.support.people import LIBRARY, Library, Maintainer, refusal_of
from tests.support.portal import NEW_PINS, OLD_PINS, Portal, next_version
from tests.support.system import Embedded, System
from tests.support.topics import answer_to, records, send, send_raw

M = TypeVar("M", bound=Message)
BROKEN = b"\x00 this is no message"


async def test_a_run_by_topic_alone(embedded: Embedded, portals: Portals) -> None:
    portal = await portals.make(embedded, "tannery")
    mira = portal.mira
    await _send_broken_records(embedded, portal.project)
    declared = portal.registration()
    registered = await told(
        ProjectRegistered,
        embedded,
        RegisterProject(
            actor=mira.actor,
            project=Project.model_validate(declared["project"]),
            pins=declared["pins"],
        ),
    )
    assert registered.project.id == portal.project
    await portal.until_known({"auth-system": "1.3.0"})

    asked = RequestPlan(actor=mira.actor, project=portal.project, systems={"auth-system": None})
    run = (await told(RunChanged, embedded, asked)).run
    assert run.status == "planning"
    planned = await mira.settled(run.id)
    assert planned.plan is not None
    assert (await _command(portal, run, StartRun, plan=planned.plan)).stage == "prepare"
    for check in ("staging-looks-right", "partner-sign-off"):
        await mira.settled(run.id)
        await _command(portal, run, SignOff, check=check)
    proven = await mira.settled(run.id)
    assert proven.candidate is not None
    await _command(portal, run, ApproveCandidate, candidate=proven.candidate)
    assert (await mira.settled(run.id)).status == "succeeded"
    assert await mira.pins() == NEW_PINS
    await _can_be_traced(embedded, mira, run.id)

    await _refused_alike(portal, run)
    assert (await _command(portal, run, RollBackRun, reason="as before")).status == "rolling-back"
    assert (await mira.settled(run.id)).status == "rolled-back"
    assert await mira.pins() == OLD_PINS
    await _are_dead_letters(embedded, portal.project)


async def _can_be_traced(system: Embedded, mira: Maintainer, run: str) -> None:
    """By exported files alone: from the Library's signature to the version map."""
    release = "/registry/releases/auth-system/1.3.0"
    paths = (
        f"{release}/signature",
        f"{release}/receipt",
        f"/planner/runs/{run}/plan/signed",
        f"/planner/runs/{run}/signed",
        f"/registry/version-maps/{mira.project}/signed?run_id={run}",
    )
    files = [(path, (await mira.text(path)).encode()) for path in paths]
    keys = system.world.folder / "keys"
    trusted = Trusted(
        LibraryKeys.load((keys / "library.json").read_text()),
        PublicKeys.load((keys / "services.json").read_text()),
    )
    package = pack_folder(package_folder("auth-system", "1.3.0"))
    papers, faults = read_papers([("package", package), *files], trusted)
    links = list(trace(papers, trusted))
    assert not faults
    assert len(links) >= 7
    assert all(holds for holds, _ in links), links
    strangers = Trusted(LibraryKeys(), PublicKeys({}))
    assert len(read_papers(files, strangers)[1]) == 3, "nobody's key proves nothing"


async def test_releases_by_topic(own_world: Embedded, tmp_path: Path) -> None:
    """Published and withdrawn by topic; what would be refused over HTTP is refused in the same words."""
    library = Library(own_world)
    package = pack_folder(next_version("auth-system", "1.3.0", "1.3.1", tmp_path, "Nothing much"))
    digest = (await library.post("/registry/content", content=package))["digest"]
    broken = (await library.post("/registry/content", content=BROKEN))["digest"]

    async def body(version: str, package: str) -> dict[str, str]:
        named = {"system": "auth-system", "version": version, "package": package}
        return {**named, "signature": await library.signature(**named)}

    def publish(body: dict[str, str]) -> PublishRelease:
        return PublishRelease.model_validate({"actor": LIBRARY, **body})

    published = await told(ReleasePublished, own_world, publish(await body("1.3.1", digest)))
    assert (published.release.version, published.change) == ("1.3.1", "patch")
    assert published.release.signature is not None
    unsigned = {"system": "auth-system", "version": "1.3.2", "package": digest}
    refusable = [await body("1.3.1", broken), await body("1.3.2", broken), await body("1.3.3", "0" * 64)]
    swapped = {**unsigned, "signature": published.release.signature.envelope}
    for one in (*refusable, unsigned, swapped):
        refused = await _refusals(own_world, publish(one))
        assert refused == [await refusal_of(library.post("/registry/releases", one))], one

    def withdraw(version: str) -> WithdrawRelease:
        return WithdrawRelease(
            actor=LIBRARY, system="auth-system", version=version, reason="it was an exercise"
        )

    gone = await told(ReleaseWithdrawn, own_world, withdraw("1.3.1"))
    assert gone.release.withdrawn == "it was an exercise"
    reason = {"reason": "it was an exercise"}
    over_http = library.post("/registry/releases/auth-system/9.9.9/withdraw", reason)
    assert await _refusals(own_world, withdraw("9.9.9")) == [await refusal_of(over_http)]


async def told(kind: type[M], system: System, command: Command) -> M:
    """The event that answers the command."""
    sent = await send(system, command)
    answer = (await answer_to(system, command.answers, command.key(), sent)).message
    assert isinstance(answer, kind), answer
    return answer


async def _command(portal: Portal, run: RunView, kind: type[Command], **fields: Any) -> RunView:
    command = kind(actor=portal.mira.actor, project=portal.project, run_id=run.id, **fields)
    return (await told(RunChanged, portal.system, command)).run


async def _refusals(system: System, command: Command) -> list[Refusal]:
    """What `CommandRefused` says of it; its cause is the command."""
    refused = await told(CommandRefused, system, command)
    assert (refused.command, refused.subject) == (command.type_name(), command.key())
    return list(refused.refusals)


async def _refused_alike(portal: Portal, run: RunView) -> None:
    """A Run that has ended takes no decision but one; both doors say it in the same words."""
    mira = portal.mira
    stranger = Maintainer(portal.system, "brewery-portal")
    decisions: tuple[tuple[str, type[Command], dict[str, Any]], ...] = (
        ("start", StartRun, {"plan": run.plan or "0" * 64}),
        ("continue", ContinueRun, {}),
        ("retry", RetryStage, {}),
        ("sign-off", SignOff, {"check": "partner-sign-off"}),
        ("approve", ApproveCandidate, {"candidate": "0" * 64}),
        ("reject", RejectCandidate, {"reason": "no"}),
        ("cancel", CancelRun, {"reason": "no"}),
    )
    about: dict[str, Any] = {"project": portal.project, "run_id": run.id}
    for verb, kind, fields in decisions:
        command = kind(actor=mira.actor, **about, **fields)
        by_topic = await _refusals(portal.system, command)
        assert by_topic == [await refusal_of(mira.tell(run.id, verb, **fields))], verb
    (foreign,) = await _refusals(portal.system, RollBackRun(actor=stranger.actor, reason="not mine", **about))
    assert foreign.kind == "forbidden"
    unknown = RequestPlan(actor=mira.actor, project=portal.project, systems={"no-system": None})
    body = {"project": portal.project, "systems": {"no-system": None}}
    assert await _refusals(portal.system, unknown) == [await refusal_of(mira.post("/planner/runs", body))]


async def _send_broken_records(system: System, key: str) -> None:
    """Upon the very keys that are used afterwards, so that they stand in the way of what follows."""
    for topic in (RUN_COMMANDS, PROJECT_COMMANDS, RELEASE_COMMANDS, STAGE_RESULTS):
        await send_raw(system, topic, key, BROKEN, ())
        headers = tuple((f"ce_{name}", b"1.0") for name in ("specversion", "id", "source", "type"))
        await send_raw(system, topic, key, None, headers)


async def _are_dead_letters(system: System, key: str) -> None:
    """Each lies where an SRE finds it: its bytes as they were, and the reason."""
    for service, count in (("planner", 4), ("registry", 4)):
        dead = await records(system, dead_letters(service), key)
        assert [letter.value for letter in dead].count(BROKEN) == count / 2
        assert len(dead) == count
        assert all(dict(letter.headers)["dead_reason"] for letter in dead)
