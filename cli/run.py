"""`upgradepath run …`: opt in, follow, decide, and undo."""

from pathlib import Path
from typing import Annotated

import typer

from cli.answers import PlanAnswer, RunAnswer
from cli.asking import AsJson, RunArgument, Watch, asks
from cli.client import Server
from cli.decisions import ask, current_candidate
from cli.exporting import OutFolder, keep
from cli.output import note, say, show_json, table, text, when
from cli.plan_page import print_named, print_weaker
from cli.run_page import print_run, status_text
from cli.watch import answer_and_watch, finish, under_way, watch
from cli.world import NoAnswer
from shared.clock import utc_now
from shared.contracts.runs import RunView
from shared.errors import Reject, conflict

app = typer.Typer(help="Start, follow, approve and undo the upgrade of a Project.")

Reason = Annotated[str, typer.Option("--reason", help="Why; it stays with the Run.")]
Remark = Annotated[str, typer.Option("--remark", help="A remark that stays with the Run.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
NO_REASON = "no reason was given"
LOOK, DECIDE, WRONG = "Look", "Decide", "When something is wrong, or unwanted"


@app.command("start", rich_help_panel=DECIDE)
@asks()
def start(
    server: Server,
    run: RunArgument,
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="DIGEST", help="Start only if the plan is still this one.")
    ] = None,
    following: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Opt in: carry out exactly this plan, up to the approval."""
    answer = PlanAnswer.model_validate(server.read("planner", "runs", run, "plan"))
    if plan is not None and plan != answer.digest:
        raise conflict(
            f"the plan of {run} is another one now",
            field="plan",
            value=plan,
            cure=f"read it again: upgradepath plan show {run}; its digest is {answer.digest}",
        )
    if not as_json:
        print_named(answer.plan, answer.digest)
        if answer.rules is not None and answer.rules.single_person:
            print_weaker(answer.plan, answer.rules)
    document = server.command("planner", "runs", run, "start", body={"plan": answer.digest})
    answer_and_watch(server, document, following=following, as_json=as_json, wanted="succeeded")


@app.command("accept-masks", rich_help_panel=DECIDE)
@asks()
def accept_masks(
    server: Server,
    run: RunArgument,
    plan: Annotated[
        str | None,
        typer.Option("--plan", metavar="DIGEST", help="Exactly this plan; nothing is asked then."),
    ] = None,
    remark: Remark = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Let copies of production's rows mask less than before, in the columns that the plan names."""
    if as_json and plan is None and not yes:
        raise typer.BadParameter("with --json nothing can be asked: give --plan DIGEST or --yes")
    answer = PlanAnswer.model_validate(server.read("planner", "runs", run, "plan"))
    if not as_json:
        print_weaker(answer.plan, answer.rules)
    if plan is None and not yes and answer.plan.weaker:
        ask("Let these columns leave production masked less?")
    body = {"plan": plan or answer.digest, "remark": remark}
    document = server.command("planner", "runs", run, "accept-masks", body=body)
    answer_and_watch(server, document, following=False, as_json=as_json, wanted="planned")


@app.command("watch", rich_help_panel=LOOK)
@asks()
def watch_run(server: Server, run: RunArgument, as_json: AsJson = False) -> None:
    """Follow a Run until it ends or waits for a person."""
    finish(watch(server, run, as_json), "succeeded")


@app.command("show", rich_help_panel=LOOK)
@asks()
def show(
    server: Server,
    run: RunArgument,
    whole: Annotated[bool, typer.Option("--all", help="Every check, step and proof, at length.")] = False,
    as_json: AsJson = False,
) -> None:
    """A Run with its stages, checks, approvals and proofs."""
    document = server.read("planner", "runs", run)
    if as_json:
        show_json(document)
        return
    found = RunAnswer.model_validate(document).run
    print_run(found, utc_now(), whole=whole)
    if found.status == "running":
        _say_progress(server, found)


@app.command("export", rich_help_panel=LOOK)
@asks()
def export(server: Server, run: RunArgument, out: OutFolder = Path()) -> None:
    """Keep a Run with its candidate, approvals and proofs in a file that the planner signed."""
    keep(out, f"{run}.dsse.json", server.read_bytes("planner", "runs", run, "signed"))


def _say_progress(server: Server, run: RunView) -> None:
    try:
        words = under_way(server, run)
    except (Reject, NoAnswer) as error:
        note(f"how far it is cannot be told: {error}")
        return
    if words is not None:
        say(f"  {words}")


@app.command("list", rich_help_panel=LOOK)
@asks()
def list_runs(
    server: Server,
    project: Annotated[str | None, typer.Option("--project", help="Only this Project's.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only those, for instance waiting.")] = None,
    as_json: AsJson = False,
) -> None:
    """The Runs that you may see, newest first."""
    document = server.read_all("planner", "runs", project=project, status=status)
    if as_json:
        show_json(document)
        return
    runs = [RunView.model_validate(row) for row in document]
    table(
        ("run", "project", "status", "stage", "systems", "waits for", "requested"),
        [
            (
                text(run.id, "bold"),
                run.project,
                status_text(run.status),
                run.stage,
                ", ".join(
                    [
                        *(f"{system} {version}" for system, version in run.systems.items()),
                        *(f"{system} (removed)" for system in run.removed),
                    ]
                ),
                f"{run.blocked_by.who}: {run.blocked_by.what}" if run.blocked_by else "",
                when(run.requested_at),
            )
            for run in runs
        ],
        empty="no Runs",
    )


@app.command("continue", rich_help_panel=WRONG)
@asks()
def continue_run(
    server: Server,
    run: RunArgument,
    copy_again: Annotated[
        bool,
        typer.Option("--copy-again", help="Copy production's rows, corrected since, to staging anew."),
    ] = False,
    following: Watch = False,
    as_json: AsJson = False,
) -> None:
    """A fix was pushed to the upgrade branch, or rows were corrected: prove it, from `apply` on."""
    body = {"copy_again": True} if copy_again else {}
    document = server.command("planner", "runs", run, "continue", body=body)
    answer_and_watch(server, document, following=following, as_json=as_json, wanted="succeeded")


@app.command("retry", rich_help_panel=WRONG)
@asks()
def retry(server: Server, run: RunArgument, following: Watch = False, as_json: AsJson = False) -> None:
    """Try the stage at which it waits once more, with nothing changed."""
    document = server.command("planner", "runs", run, "retry", body={})
    answer_and_watch(server, document, following=following, as_json=as_json, wanted="succeeded")


@app.command("sign-off", rich_help_panel=DECIDE)
@asks()
def sign_off(
    server: Server,
    run: RunArgument,
    check: Annotated[str, typer.Argument(metavar="CHECK", help="The sign-off check's name.")],
    no: Annotated[bool, typer.Option("--no", help="The answer is no: the check failed.")] = False,
    remark: Remark = "",
    following: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Answer a check that asks for a person's word: yes, or --no."""
    body = {"check": check, "accepted": not no, "remark": remark}
    document = server.command("planner", "runs", run, "sign-off", body=body)
    answer_and_watch(server, document, following=following, as_json=as_json, wanted="succeeded")


@app.command("approve", rich_help_panel=DECIDE)
@asks()
def approve(
    server: Server,
    run: RunArgument,
    candidate: Annotated[
        str | None,
        typer.Option("--candidate", metavar="DIGEST", help="Exactly this one; nothing is asked then."),
    ] = None,
    remark: Remark = "",
    yes: Yes = False,
    following: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Deploy the proven candidate to production, after showing what it contains."""
    if as_json and candidate is None and not yes:
        raise typer.BadParameter("with --json nothing can be asked: give --candidate DIGEST or --yes")
    digest = candidate or current_candidate(server, run, show=not as_json)
    if candidate is None and not yes:
        ask("Deploy exactly this to production?")
    document = server.command("planner", "runs", run, "approve", body={"candidate": digest, "remark": remark})
    answer_and_watch(server, document, following=following, as_json=as_json, wanted="succeeded")


@app.command("reject", rich_help_panel=DECIDE)
@asks()
def reject(
    server: Server,
    run: RunArgument,
    reason: Reason = NO_REASON,
    following: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Do not deploy the candidate: roll the Run back."""
    document = server.command("planner", "runs", run, "reject", body={"reason": reason})
    answer_and_watch(server, document, following=following, as_json=as_json, wanted="rolled-back")


@app.command("cancel", rich_help_panel=WRONG)
@asks()
def cancel(
    server: Server,
    run: RunArgument,
    reason: Reason = NO_REASON,
    following: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Stop before production is written; staging and branch are taken away."""
    document = server.command("planner", "runs", run, "cancel", body={"reason": reason})
    answer_and_watch(server, document, following=following, as_json=as_json, wanted="cancelled")


@app.command("roll-back", rich_help_panel=WRONG)
@asks()
def roll_back(
    server: Server,
    run: RunArgument,
    reason: Reason = NO_REASON,
    restore_backup: Annotated[
        bool, typer.Option("--restore-backup", help="Consent to losing every write made since the backup.")
    ] = False,
    yes: Yes = False,
    following: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Bring code, configuration, schema and version map back to what they were; also after the end."""
    if restore_backup and not yes:
        ask(f"Restore {run}'s backup over production, and lose every write made since?")
    body = {"reason": reason, "restore_backup": restore_backup}
    document = server.command("planner", "runs", run, "roll-back", body=body)
    answer_and_watch(server, document, following=following, as_json=as_json, wanted="rolled-back")
