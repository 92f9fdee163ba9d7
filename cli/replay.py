"""`upgradepath replay …`: go on with what is stuck, and do again what was lost. All is safe to repeat."""

import getpass
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.asking import AsJson, RunArgument, Watch, asks
from cli.backlog import letter_document, read_letters, reads
from cli.broker import Broker, broker_settings, with_broker
from cli.client import Server
from cli.decisions import ask
from cli.durations import moment_or_ago
from cli.output import line, note, say, show_json, table, text, when
from cli.pools import known_service
from cli.rebuild import rebuild
from cli.watch import answer_and_watch

if TYPE_CHECKING:
    from shared.replay.dead_letters import DeadLetter

app = typer.Typer(help="Go on with what is stuck, send dead letters again, rebuild a service's database.")


@app.command("resume")
@asks("sre")
def resume(
    server: Server,
    run: RunArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stays in the Run's history.")],
    from_stage: Annotated[
        str | None,
        typer.Option("--from", metavar="STAGE", help="This stage or an earlier one than it is at."),
    ] = None,
    following: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Make a Run go on that is stuck, behind a higher fence: whatever is under way is superseded."""
    body = {"reason": reason, "from_stage": from_stage}
    document = server.command("planner", "runs", run, "resume", body=body)
    answer_and_watch(server, document, following=following, as_json=as_json, wanted="succeeded")


@app.command("redrive")
def redrive(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Whose dead letters.")],
    reason: Annotated[str | None, typer.Option("--reason", help="Only if the reason says this.")] = None,
    type_name: Annotated[str | None, typer.Option("--type", help="Only if the type says this.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", help="Only those buried since, for instance 2h or 2026-03-01T12:00."),
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", min=0.01, help="At most so many a second.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    bootstrap_servers: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters to where they came from: the same bytes, headers and ids. Cure the cause first."""
    from shared.replay import dead_letters

    known_service(service)
    start = None if since is None else moment_or_ago(since)
    letters = read_letters(bootstrap_servers, service)
    chosen = _read_by(
        service, dead_letters.choose(letters, reason=reason, type_name=type_name, since=start, again=again)
    )
    skipped = sum(letter.redriven_at is not None for letter in letters)
    if skipped and not again:
        note(f"{skipped} were sent again before, and are left out; --again takes them too")
    if not as_json:
        table(
            ("letter", "type", "topic", "buried", "reason"),
            [
                (
                    text(one.id, "bold"),
                    one.type,
                    one.topic,
                    when(one.buried_at),
                    one.reason.partition("\n")[0],
                )
                for one in chosen
            ],
            empty="no dead letter is to be sent again",
        )
    if chosen and not dry_run:
        if as_json and not yes:
            raise typer.BadParameter("with --json nothing can be asked: give --yes or --dry-run")
        if not yes:
            ask(f"Send {len(chosen)} again?")
        _send(bootstrap_servers, chosen, rate)
    if as_json:
        show_json({"sent": not dry_run, "letters": [letter_document(letter) for letter in chosen]})
    elif chosen and not dry_run:
        say(line(text("sent again ", "bold green"), str(len(chosen))))


def _send(bootstrap_servers: str | None, chosen: "Sequence[DeadLetter]", rate: float | None) -> None:
    from shared.replay import dead_letters

    settings = broker_settings(bootstrap_servers)
    sending = dead_letters.redrive(settings, chosen, by=getpass.getuser(), rate_per_s=rate)
    with_broker(settings, sending, within_s=None)


app.command("rebuild")(rebuild)


def _read_by(service: str, letters: "Sequence[DeadLetter]") -> "list[DeadLetter]":
    """Those that came whole from a topic of the service; the others are named.

    Whoever may write a dead letter would otherwise have an SRE write where he himself may not.
    """
    read = {topic.name for _, topic in reads(service)}
    strange = sorted({one.topic or "none" for one in letters if one.topic not in read})
    kept = [one for one in letters if one.topic in read]
    if strange:
        names = ", ".join(strange)
        left_out = len(letters) - len(kept)
        note(f"{left_out} are left out: they name topics that {service} does not read ({names})")
    for one in kept:
        if one.why_not_again is not None:
            note(f"{one.id} is left out: {one.why_not_again}")
    return [one for one in kept if one.why_not_again is None]
