"""`upgradepath audit …`: who decided or tried what; the log as a file, and the verdict on it, offline."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.asking import AsJson, asks
from cli.audit_file import read_heads, write_export
from cli.broker import Broker, broker_settings, with_broker
from cli.client import Server
from cli.durations import moment_or_ago
from cli.output import line, note, raw, say, show_json, table, text, when
from cli.proving import service_proofs
from cli.world import NoAnswer
from shared.contracts.audit import AuditEntry, AuditHead
from shared.contracts.topics import SERVICES
from shared.contracts.values import canonical_json

if TYPE_CHECKING:
    from shared.audit.exported import Verdict

app = typer.Typer(help="Who decided or tried what: list it, export it, and verify an exported file offline.")

_PAGE_ROWS = 200
Services = Annotated[
    list[str] | None,
    typer.Option("--service", metavar="NAME", help="Only this service's log; may be repeated."),
]
Keys = Annotated[
    str | None,
    typer.Option("--keys", metavar="FILE", help="The services' public keys; else those that services know."),
]
Heads = Annotated[
    Path | None,
    typer.Option("--heads", metavar="FILE", exists=True, help="Published ones, as `audit heads` prints."),
]
Hashes = Annotated[
    list[str] | None, typer.Option("--head", metavar="HASH", help="A hash that was published.")
]
FromTopic = Annotated[
    bool, typer.Option("--from-topic", help="Compare with every head on the broker's topic.")
]
Range = Annotated[bool, typer.Option("--range", help="The file has a part, not the beginning.")]


@app.command("list")
@asks("sre")
def list_(
    server: Server,
    project: Annotated[str | None, typer.Option("--project", help="Only of this Project.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this person did or tried.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="2h, 3d, or a moment (RFC 3339).")
    ] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Only tries that were refused.")] = False,
    service: Services = None,
    everything: Annotated[
        bool, typer.Option("--all", help=f"Not only the newest {_PAGE_ROWS} of each service.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Decisions and refused tries, the newest first. A maintainer sees those of the own Projects."""
    query: dict[str, str | int | None] = {
        **{"project": project, "actor": actor, "limit": _PAGE_ROWS},
        **{
            "since": None if since is None else moment_or_ago(since).isoformat(),
            "refused": "true" if refused else None,
        },
    }
    rows: list[dict[str, Any]] = []
    for name in _named(service):
        found = server.read_all(name, "audit", **query) if everything else server.read(name, "audit", **query)
        rows += found
        if not everything and len(found) == _PAGE_ROWS:
            note(f"{name} may have more: --all, or a later --since")
    rows.sort(key=lambda row: (row["entry"]["at"], row["entry"]["log"], row["entry"]["seq"]), reverse=True)
    if as_json:
        show_json(rows)
        return
    entries = [AuditEntry.model_validate(row["entry"]) for row in rows]
    table(
        ("at", "log", "who", "from", "what", "about", "verdict", "on", "why"),
        [_row(entry) for entry in entries],
        empty="nothing was decided or tried",
    )


@app.command("export")
@asks("sre")
def export(
    server: Server,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; for your eyes alone.")],
    service: Services = None,
    first: Annotated[
        int, typer.Option("--from", min=1, help="Begin with this entry of each log; the end is always whole.")
    ] = 1,
) -> None:
    """Write the logs of all services into one file, with a signed head each."""
    counts = write_export(server, file, _named(service), first)
    for name, (count, head) in counts.items():
        say(f"{name}: {count} entries, up to {head.seq} ({head.hash})")
    say(line(text("exported ", "bold green"), f"to {file}; verify it: upgradepath audit verify {file}"))


@app.command("heads")
@asks("sre")
def heads(server: Server, service: Services = None) -> None:
    """Print the newest signed head of each log, a JSON line each: keep them apart from the logs."""
    for name in _named(service):
        head = server.read(name, "audit", "export", after=(1 << 62) - 1, limit=1)["head"]
        raw(canonical_json(AuditHead.model_validate(head).model_dump(mode="json")) + "\n")


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `audit export` wrote.", exists=True)],
    keys: Keys = None,
    heads_file: Heads = None,
    head: Hashes = None,
    from_topic: FromTopic = False,
    service: Services = None,
    is_range: Range = False,
    bootstrap_servers: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Say whether anything in the file was edited, taken out, moved or cut off. Asks nobody; exit 1 if so.

    Where the log ended is known by a published head alone: give one, or --from-topic.
    """
    from shared.audit.exported import Known
    from shared.audit.exported import verify as judge

    proofs = service_proofs(keys, needed=not head)
    published = list(read_heads(heads_file)) if heads_file is not None else []
    if from_topic:
        from shared.replay.audit_heads import published_heads

        settings = broker_settings(bootstrap_servers)
        published += with_broker(settings, published_heads(settings))
    known = Known(proofs, published, tuple(head or ()), _named(service), is_range)
    with file.open("rb") as lines:
        verdict = judge(lines, known)
    _show(file, verdict, as_json)
    if verdict.faults:
        raise typer.Exit(1)
    if verdict.unproven:
        raise NoAnswer(
            f"nothing proves the heads of {', '.join(verdict.unproven)}: anybody could have made this file",
            "give the services' public keys (--keys), or a head that was published (--head)",
        )


def _show(file: Path, verdict: "Verdict", as_json: bool) -> None:
    if as_json:
        show_json(
            {
                "file": str(file),
                "whole": not verdict.faults,
                "proven": not verdict.faults and not verdict.unproven,
                "entries": verdict.entries,
                "faults": [asdict(fault) for fault in verdict.faults],
                "unproven": list(verdict.unproven),
            }
        )
        return
    for fault in verdict.faults:
        where = f"line {fault.line}" + (f", {fault.log} {fault.seq}" if fault.log else "")
        say(line(text(f"{fault.kind}: ", "bold red"), f"{where}: {fault.text}"))
    if not verdict.faults:
        counts = ", ".join(f"{log} {count}" for log, count in verdict.entries.items())
        say(line(text("whole: ", "bold green"), f"{file} ({counts})"))


def _row(entry: AuditEntry) -> tuple[Any, ...]:
    about = entry.run or entry.subject
    if entry.project is not None and about != entry.project:
        about = f"{entry.project} {about}"
    style = "bold red" if entry.verdict == "refused" else "green"
    why = entry.refusals[0].reason if entry.refusals else _said(entry)
    return (
        when(entry.at),
        f"{entry.log} {entry.seq}",
        text(entry.who or "nobody proven", "bold"),
        entry.origin,
        entry.what,
        about,
        text(entry.verdict, style),
        (entry.digest or "")[:12],
        why,
    )


def _said(entry: AuditEntry) -> str:
    return " ".join(f"{detail.name}={detail.value}" for detail in entry.details)


def _named(services: list[str] | None) -> tuple[str, ...]:
    for name in services or ():
        if name not in SERVICES and name.partition(".")[0] not in SERVICES:
            raise typer.BadParameter(f"{name!r} is none of: {', '.join(SERVICES)}")
    return tuple(services or SERVICES)
