"""One release traced by exported files alone, from the Library's signature to a Project's version map.

Each file is verified by itself first, and then each link between two of them. Nobody is asked.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from shared.contracts.candidates import Candidate
from shared.contracts.envelope import explain
from shared.contracts.runs import Plan, RunView
from shared.contracts.tasks import new_packages
from shared.contracts.values import Contract, canonical_digest
from shared.contracts.version_maps import VersionMap
from shared.deciding import missing_approvals
from shared.errors import Reject
from shared.identity.keys import PublicKeys
from shared.packages.package import read_package
from shared.signing import statements
from shared.signing.envelope import Envelope, Unproven
from shared.signing.library_keys import LibraryKeys
from shared.signing.releases import CLOCKS_DIFFER_BY, Named, verify_receipt, verify_release
from shared.signing.statements import Statement
from shared.signing.trust import keys_of

C = TypeVar("C", bound=Contract)
_GZIP = b"\x1f\x8b"


@dataclass
class Papers:
    """What the files are, once each is proven; `packages` by digest."""

    packages: dict[str, Named] = field(default_factory=dict)
    signatures: dict[str, bytes] = field(default_factory=dict)
    receipts: dict[str, bytes] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    runs: list[tuple[RunView, Candidate | None]] = field(default_factory=list)
    maps: list[VersionMap] = field(default_factory=list)


@dataclass(frozen=True)
class Trusted:
    """The public keys by which papers are verified."""

    library: LibraryKeys
    services: PublicKeys


def read_papers(files: Sequence[tuple[str, bytes]], trusted: Trusted) -> tuple[Papers, list[str]]:
    """The papers of these files, given with their names, and what is wrong with each that proves nothing."""
    papers, faults = Papers(), []
    for name, data in files:
        try:
            _take(data, trusted, papers)
        except Unproven as error:
            faults.append(f"{name}: {error}")
        except Reject as error:
            faults.append(f"{name}: not a package: {error}")
    return papers, faults


def trace(papers: Papers, trusted: Trusted) -> Iterator[tuple[bool, str]]:
    """Each link as a sentence, and whether it holds."""
    if not papers.runs or not papers.plans or not papers.maps or not papers.packages:
        yield False, "a trace needs a package with its signature and receipt, a plan, a run and a version map"
    seen: dict[str, datetime] = {}
    for digest, named in papers.packages.items():
        yield _signed(papers, trusted, digest, named, seen)
    for run, candidate in papers.runs:
        yield from _of_run(papers, run, candidate, seen)
    planned = {run.plan for run, _ in papers.runs}
    for digest in papers.plans.keys() - planned:
        yield False, f"plan {digest} is of none of the runs"
    recorded = {run.id for run, _ in papers.runs}
    for version_map in papers.maps:
        if version_map.run_id not in recorded:
            yield False, f"version map {version_map.revision} was recorded by none of the runs"


def _take(data: bytes, trusted: Trusted, papers: Papers) -> None:
    if data.startswith(_GZIP):
        manifest, digest = read_package(data).manifest, hashlib.sha256(data).hexdigest()
        papers.packages[digest] = Named(manifest.name, manifest.version, digest)
        return
    envelope, statement = statements.read_exported(data)
    kind = statement.predicate_type
    if kind in (statements.RELEASE, statements.RECEIPT):
        # What they prove is proven with the package beside them.
        found = papers.signatures if kind == statements.RELEASE else papers.receipts
        found[statement.subject[0].sha256] = data
    elif kind == statements.PLAN:
        _by("planner", envelope, trusted)
        plan = statement.says(kind, statements.PlanPredicate).plan
        read = _read(Plan, plan)
        digest = canonical_digest(plan)
        statement.must_be_of([(f"{read.run_id}/plan", digest)])
        papers.plans[digest] = read
    elif kind == statements.RUN:
        _by("planner", envelope, trusted)
        papers.runs.append(_run(statement))
    elif kind == statements.VERSION_MAP:
        _by("registry", envelope, trusted)
        said = statement.says(kind, statements.VersionMapPredicate).version_map
        version_map = _read(VersionMap, said)
        name = f"{version_map.project}/version-map/{version_map.revision}"
        statement.must_be_of([(name, canonical_digest(said))])
        papers.maps.append(version_map)
    else:
        raise Unproven(f"nobody here knows statements of the type {kind!r}")


def _run(statement: Statement) -> tuple[RunView, Candidate | None]:
    said = statement.says(statements.RUN, statements.RunPredicate)
    run = _read(RunView, said.run)
    subjects, candidate = [(run.id, canonical_digest(said.run))], None
    if said.candidate is not None:
        candidate = _read(Candidate, said.candidate)
        subjects.append((f"{run.id}/candidate", canonical_digest(said.candidate)))
        if subjects[1][1] != run.candidate:
            raise Unproven("the candidate is not the one that the run names")
    statement.must_be_of(subjects)
    return run, candidate


def _by(principal: str, envelope: Envelope, trusted: Trusted) -> None:
    envelope.proven_by(keys_of(principal, trusted.services))


def _read(kind: type[C], document: object) -> C:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise Unproven(f"not a {kind.__name__}: {explain(error)}") from None


def _signed(
    papers: Papers, trusted: Trusted, digest: str, named: Named, seen: dict[str, datetime]
) -> tuple[bool, str]:
    name = f"{named.system} {named.version}, package {digest[:12]}…"
    envelope, receipt = papers.signatures.get(digest), papers.receipts.get(digest)
    if envelope is None or receipt is None:
        return False, f"{name}: its {'signature' if envelope is None else 'receipt'} is not among the files"
    try:
        registry = keys_of("registry", trusted.services)
        at = verify_receipt(receipt, envelope, named, registry, trusted.library)
        signed = verify_release(envelope, named, trusted.library, at)
    except Unproven as error:
        return False, f"{name}: {error}"
    seen[digest] = at
    return (
        True,
        f"{name}: signed by {signed.kid}, built by {signed.builder}, seen by the registry {at:%F %T} UTC",
    )


def _of_run(
    papers: Papers, run: RunView, candidate: Candidate | None, seen: dict[str, datetime]
) -> Iterator[tuple[bool, str]]:
    plan = papers.plans.get(run.plan or "")
    if plan is None:
        yield False, f"{run.id}: its plan {run.plan} is not among the files"
        return
    same = (plan.run_id, plan.project) == (run.id, run.project)
    yield same, f"plan {run.plan} is of {run.id}, Project {run.project}"
    for upgrade in plan.upgrades:
        if upgrade.to_version is None or upgrade.to_package is None:
            continue
        named = papers.packages.get(upgrade.to_package)
        holds = named == Named(upgrade.system, upgrade.to_version, upgrade.to_package)
        at = seen.get(upgrade.to_package)
        holds = holds and at is not None and at <= run.requested_at + CLOCKS_DIFFER_BY
        yield holds, f"the plan moves {upgrade.system} to {upgrade.to_version}, which is that signed package"
    if run.status == "rolled-back":
        # What was proven and approved does not count any more: all of that is undone.
        undone = bool(run.proof) and all(proof.same for proof in run.proof)
        yield undone, f"rolled back: {len(run.proof)} things are as before the Run"
    else:
        yield from _deployed(run, candidate, plan)
    yield _recorded(papers.maps, run, plan)


def _deployed(run: RunView, candidate: Candidate | None, plan: Plan) -> Iterator[tuple[bool, str]]:
    if candidate is None or run.candidate is None:
        yield False, f"{run.id}: it has no candidate"
        return
    packages = new_packages(plan.upgrades)
    holds = candidate.plan == run.plan and candidate.packages == packages
    yield holds, f"candidate {run.candidate} is of this plan and of these packages"
    yield _approved(run, run.candidate)
    done = any(stage.stage == "deploy" and stage.status == "succeeded" for stage in run.stages)
    yield done and run.deployed_commit is not None, f"deployed as commit {run.deployed_commit}"


def _words(run: RunView) -> list[tuple[str, str]]:
    approvals = run.approvals or ((run.approval,) if run.approval else ())
    return [(approval.by, approval.subject) for approval in approvals]


def _approved(run: RunView, candidate: str) -> tuple[bool, str]:
    words = _words(run)
    people = [by for by, subject in words if subject == candidate]
    enough = bool(people) and len(people) == len(words)
    if enough and run.rules is not None:
        enough = missing_approvals(run.rules, people, run.asked_by) == 0
    return enough, f"exactly this candidate was approved by {', '.join(people) or 'nobody'}"


def _recorded(maps: Sequence[VersionMap], run: RunView, plan: Plan) -> tuple[bool, str]:
    found = [one for one in maps if one.run_id == run.id]
    wanted = plan.pins_before if run.status == "rolled-back" else plan.pins_after
    allowed = (plan.pins_after, wanted)
    holds = bool(found) and all(one.project == run.project and one.pins in allowed for one in found)
    pins = ", ".join(f"{upgrade.system} {upgrade.to_version or 'removed'}" for upgrade in plan.upgrades)
    revisions = ", ".join(str(one.revision) for one in found) or "not among the files"
    return holds, f"the version map of {run.project} records {pins} by {run.id}: revision {revisions}"
