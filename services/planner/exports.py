"""Plans and Runs as signed papers, which prove offline what was planned, approved, deployed and undone."""

from fastapi import APIRouter
from fastapi.responses import Response

from services.planner.api import RunName, plan_of
from services.planner.plans import build_candidate
from services.planner.run import Run
from services.planner.store import PlannerTransaction
from services.planner.store.lists import run_for
from shared.clock import utc_now
from shared.contracts.candidates import Candidate
from shared.contracts.values import canonical_digest
from shared.http.downloads import ENVELOPE, envelope
from shared.http.tokens import WhoAsks
from shared.identity.keys import SigningKey
from shared.signing.statements import PLAN, RUN, sign_statement
from shared.storage.database import Database


def add_exports(routes: APIRouter, database: Database[PlannerTransaction], key: SigningKey) -> None:
    """Routes that answer with envelopes, signed with the planner's key."""

    @routes.get("/runs/{run_id}/plan/signed", response_class=Response, responses=ENVELOPE)
    async def signed_plan(run_id: RunName, who: WhoAsks) -> Response:
        """The plan in a DSSE envelope: its subject is the plan's digest."""
        async with database.transaction() as tx:
            run, _ = await run_for(tx, run_id, who)
        return envelope(plan_statement(run, key))

    @routes.get("/runs/{run_id}/signed", response_class=Response, responses=ENVELOPE)
    async def signed_run(run_id: RunName, who: WhoAsks) -> Response:
        """The Run as it stands in a DSSE envelope, with its candidate, approvals and proof of a rollback."""
        async with database.transaction() as tx:
            run, _ = await run_for(tx, run_id, who)
        return envelope(run_statement(run, key))


def plan_statement(run: Run, key: SigningKey) -> bytes:
    """The envelope around a Run's plan. Raises `Reject` when it has none yet."""
    state = plan_of(run)
    plan = state.plan.model_dump(mode="json")
    return sign_statement(PLAN, [(f"{run.id}/plan", state.digest)], {"plan": plan}, [key])


def run_statement(run: Run, key: SigningKey) -> bytes:
    """The envelope around a Run, as everybody may see it, and its candidate."""
    view = run.view().model_dump(mode="json")
    subjects = [(run.id, canonical_digest(view))]
    candidate = _candidate(run)
    if candidate is not None:
        subjects.append((f"{run.id}/candidate", candidate.content_digest()))
    predicate = {
        "run": view,
        "candidate": None if candidate is None else candidate.model_dump(mode="json"),
        "exported_at": utc_now().isoformat(),
    }
    return sign_statement(RUN, subjects, predicate, [key])


def _candidate(run: Run) -> Candidate | None:
    """What the Run names as its candidate; none before staging has proven one."""
    if run.candidate is None or run.migrated is None or run.applied is None:
        return None
    candidate = build_candidate(run)
    return candidate if candidate.content_digest() == run.candidate else None
