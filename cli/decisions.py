"""What a person sees and is asked before production is touched."""

import typer

from cli.answers import PlanAnswer, RunAnswer
from cli.client import Server
from cli.output import line, note, say, text
from cli.plan_page import print_named
from cli.policy_page import policy_line
from cli.run_page import by_verdict, latest_records, status_text
from shared.contracts.runs import Plan, RunView
from shared.errors import conflict


def ask(question: str) -> None:
    """Ends the command with exit code 1 unless the person says yes. The question goes to stderr."""
    if not typer.confirm(question, err=True):
        note("nothing was sent")
        raise typer.Exit(1)


def current_candidate(server: Server, run_id: str, *, show: bool) -> str:
    """The digest of the Run's candidate, shown with what it contains. Raises `Reject` when there is none."""
    run = RunAnswer.model_validate(server.read("planner", "runs", run_id)).run
    if run.candidate is None:
        cures = run.blocked_by.cures if run.blocked_by else ()
        raise conflict(
            f"{run_id} has no candidate: it is {run.status}, at {run.stage}",
            field="candidate",
            cure="; ".join(cures) or f"upgradepath run watch {run_id}",
        )
    if show:
        answer = PlanAnswer.model_validate(server.read("planner", "runs", run_id, "plan"))
        print_named(answer.plan, answer.digest)
        _print_candidate(run, answer.plan, run.candidate)
    return run.candidate


def _print_candidate(run: RunView, plan: Plan, digest: str) -> None:
    say(line(text("candidate ", "bold"), digest))
    if run.rules is not None:
        say(line("  ", policy_line(run.rules)))
    say(f"  commit   {run.commit or '?'} on {run.branch or '?'}")
    if run.address:
        say(f"  staging  {run.address}")
    for migration in plan.migrations:
        if not migration.reversible:
            mark = migration.way_down.mark if migration.way_down else "point of no return"
            say(line(f"  migration  {migration.folder}", text(f"  {mark.upper()}", "bold red")))
    for record in latest_records(run).values():
        if record.stage == "migrate":
            say(*(f"  staging    {step.name}: {step.duration_ms} ms; {step.detail}" for step in record.steps))
        for stands, names in by_verdict(run, record).items():
            # Below it stands who signed it off.
            if stands == "signed-off":
                continue
            say(line(f"  {record.stage}  ", status_text(stands), f"  {', '.join(names)}"))
    for sign_off in run.sign_offs:
        say(f"  signed off  {sign_off.subject} by {sign_off.by} {sign_off.remark}".rstrip())
    edited = [file.path for file in plan.files if file.partner_edited]
    if edited:
        say(f"  merged with the partner's own edits: {', '.join(edited)}")
