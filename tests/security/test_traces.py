"""One release traced by exported files alone: every link is checked, and no manipulation of a file passes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from cli.tracing import Trusted, read_papers, trace
from services.planner.exports import plan_statement, run_statement
from services.registry.exports import map_statement
from shared.contracts.runs import ApproveCandidate, RequestPlan, RollBackRun, SignOff, StartRun
from shared.contracts.version_maps import VersionMapRecorded
from shared.identity.keys import SigningKey
from shared.signing.envelope import Envelope
from shared.signing.releases import Named, sign_receipt, sign_release
from shared.signing.statements import PLAN, RUN, VERSION_MAP
from tests.registry.registry_world import files, pack
from tests.support.planner_examples import MIRA, NOON, PROJECT, release, releases
from tests.support.planner_world import World
from tests.support.proofs import KEYS, PUBLIC_KEYS
from tests.support.signing import LIBRARY_KEY, LIBRARY_KEYS

TRUSTED = Trusted(LIBRARY_KEYS, PUBLIC_KEYS)
Files = dict[str, bytes]


@dataclass(frozen=True)
class Exported:
    """The files of one Run, by what each is."""

    run: str
    files: Files


def exported(summary: str = "What changed", *, undone: bool = False) -> Exported:
    """A package is published and signed, and a Run brings it to production."""
    package = pack(files("1.3.0", changed={"files/note.txt": summary}))
    digest = hashlib.sha256(package).hexdigest()
    named = Named("auth-system", "1.3.0", digest)
    letter = sign_release(named, builder="the Library", at=NOON, keys=[LIBRARY_KEY])
    receipt = sign_receipt(named, letter, LIBRARY_KEY.kid, NOON, KEYS["registry"])
    newest = release("auth-system", "1.3.0").model_copy(update={"package": digest})
    # Ids are derived: the Run of another summary is another Run.
    world = World(number=len(summary), known=releases() | {("auth-system", "1.3.0"): newest})
    run_id = world.tell(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": "1.3.0"})).id
    recorded = _to_its_end(world, run_id, undone)
    run = world.run(run_id)
    return Exported(
        run_id,
        {
            "package": package,
            "signature": letter,
            "receipt": receipt,
            "plan": plan_statement(run, KEYS["planner"]),
            "run": run_statement(run, KEYS["planner"]),
            "version map": map_statement(recorded, KEYS["registry"]),
        },
    )


def _to_its_end(world: World, run_id: str, undone: bool) -> VersionMapRecorded:
    """The event that recorded the pins."""
    on: dict[str, Any] = {"actor": MIRA, "project": PROJECT, "run_id": run_id}
    recorded = None
    while True:
        run = world.run(run_id)
        if (command := world.stage_command(run_id)) is not None:
            world.tell(world.result(command))
        elif world.to_registry:
            world.registry_works()
            answer = world.hear_registry()
            recorded = answer if isinstance(answer, VersionMapRecorded) else recorded
        elif run.status == "planned":
            world.tell(StartRun(**on, plan=run.plan))
        elif run.status == "succeeded" and undone:
            world.tell(RollBackRun(**on, reason="customers cannot sign in"))
        elif run.ended:
            assert recorded is not None
            return recorded
        elif run.candidate is not None:
            world.tell(ApproveCandidate(**on, candidate=run.candidate))
        else:
            world.tell(SignOff(**on, check="partner-sign-off"))


def faults(given: Files, trusted: Trusted = TRUSTED) -> list[str]:
    """Everything that does not hold; a stranger's reader sees it too."""
    papers, wrong = read_papers(list(given.items()), trusted)
    return [*wrong, *(what for holds, what in trace(papers, trusted) if not holds)]


GOOD = exported()
UNDONE = exported(undone=True)
ANOTHER = exported("Another change")


def test_a_release_is_traced_from_its_signature_to_the_version_map() -> None:
    """Catches a link that nobody looks at: each is a sentence here."""
    papers, wrong = read_papers(list(GOOD.files.items()), TRUSTED)
    said = [what for _, what in trace(papers, TRUSTED)]
    assert not wrong
    assert not faults(GOOD.files), faults(GOOD.files)
    assert "signed by" in said[0]
    for word in ("plan ", "the plan moves", "candidate ", MIRA.id, "deployed as commit", "the version map"):
        assert any(word in sentence for sentence in said), word
    # In any order.
    assert not faults(dict(reversed(GOOD.files.items())))


def test_a_rollback_is_traced_with_its_proof() -> None:
    assert not faults(UNDONE.files), faults(UNDONE.files)
    papers, _ = read_papers(list(UNDONE.files.items()), TRUSTED)
    assert any("rolled back" in what for _, what in trace(papers, TRUSTED))


@pytest.mark.parametrize("name", list(GOOD.files))
def test_a_file_that_is_missing_is_missed(name: str) -> None:
    assert faults({other: data for other, data in GOOD.files.items() if other != name})


@pytest.mark.parametrize("name", list(GOOD.files))
def test_a_file_of_another_release_is_found(name: str) -> None:
    """Catches a signature, a receipt, a plan, a Run or a map that is true, and of something else."""
    assert faults(GOOD.files | {name: ANOTHER.files[name]}), name


@pytest.mark.parametrize("name", list(GOOD.files))
def test_an_altered_byte_is_found(name: str) -> None:
    """Bytes all over the file; white space and base64's other spelling change nothing."""
    data = GOOD.files[name]
    for at in range(7, len(data), max(1, len(data) // 40)):
        changed = data[:at] + bytes([data[at] ^ 2]) + data[at + 1 :]
        if name != "package" and _same(changed, data):
            continue
        assert faults(GOOD.files | {name: changed}), (name, at)
    assert faults(GOOD.files | {name: data[:-9]}), name


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("plan", lambda said: said["plan"].update(risk="low", risks=[])),
        ("plan", lambda said: said["plan"]["upgrades"][0].update(to_package="0" * 64)),
        ("plan", lambda said: said["plan"]["pins_after"].update({"quote-engine": "9.9.9"})),
        ("run", lambda said: said["run"].update(approval=None, approvals=[])),
        ("run", lambda said: said["run"]["approval"].update(subject="0" * 64)),
        ("run", lambda said: said["run"].update(candidate="0" * 64)),
        ("run", lambda said: said.update(candidate=None)),
        ("run", lambda said: said["candidate"].update(packages=["0" * 64])),
        ("run", lambda said: said["run"].update(deployed_commit=None)),
        ("run", lambda said: said["run"].update(stages=[])),
        ("version map", lambda said: said["version_map"]["pins"].update({"auth-system": "1.2.0"})),
        ("version map", lambda said: said["version_map"].update(run_id="run-000000000000")),
        ("version map", lambda said: said["version_map"].update(project="globex-portal")),
    ],
)
def test_even_a_paper_that_is_signed_anew_must_fit_the_others(
    name: str, change: Callable[[dict[str, Any]], None]
) -> None:
    """Digests bind one file to the next: who has one service's key changes one link, and breaks it."""
    principal = "registry" if name == "version map" else "planner"
    envelope = Envelope.read(GOOD.files[name], bytes_max=1 << 24)
    document = json.loads(envelope.payload)
    before = json.dumps(document)
    change(document["predicate"])
    assert json.dumps(document) != before
    payload = json.dumps(document).encode()
    for key in (KEYS[principal], KEYS["executor"], SigningKey(principal, SigningKey.new().private)):
        assert faults(GOOD.files | {name: Envelope.signed(payload, [key]).json()})


@pytest.mark.parametrize("name", ["plan", "run", "version map"])
def test_only_the_service_that_owns_it_signs_it(name: str) -> None:
    """Catches a worker's key, the Library's, or the other service's under a plan, a Run or a map."""
    payload = Envelope.read(GOOD.files[name], bytes_max=1 << 24).payload
    owner = "registry" if name == "version map" else "planner"
    for principal in KEYS.keys() - {owner}:
        assert faults(GOOD.files | {name: Envelope.signed(payload, [KEYS[principal]]).json()}), principal
    assert faults(GOOD.files | {name: Envelope.signed(payload, [LIBRARY_KEY]).json()})
    assert not faults(GOOD.files | {name: Envelope.signed(payload, [KEYS[owner]]).json()})


def test_the_kinds_of_statements_are_told_apart() -> None:
    """Catches one paper that is taken for another."""
    assert len({PLAN, RUN, VERSION_MAP}) == 3
    for kind in (PLAN, RUN, VERSION_MAP):
        document = json.loads(Envelope.read(GOOD.files["plan"], bytes_max=1 << 24).payload)
        if document["predicateType"] != kind:
            document["predicateType"] = kind
            moved = Envelope.signed(json.dumps(document).encode(), [KEYS["planner"], KEYS["registry"]]).json()
            assert faults(GOOD.files | {"plan": moved})


def _same(one: bytes, other: bytes) -> bool:
    """Whether two texts are the same envelope."""
    try:
        return Envelope.read(one, bytes_max=1 << 24) == Envelope.read(other, bytes_max=1 << 24)
    except Exception:
        return False
