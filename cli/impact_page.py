"""What a migration will do, as people read it before they opt in."""

from cli.output import line, say, text
from shared.contracts.facts import PlannedMigration
from shared.contracts.impact import MigrationImpact, Probe, StatementImpact

_KIND_STYLES = {
    "additive": "green",
    "backfill": "cyan",
    "blocking": "yellow",
    "rewriting": "bold yellow",
    "destructive": "bold red",
}
_VERDICT_STYLES = {
    "fits": "green",
    "would fail": "bold red",
    "loses": "red",
    "writes": "cyan",
    "unknown": "yellow",
}


def kind_style(kind: str) -> str:
    """How a class of migrations is coloured."""
    return _KIND_STYLES.get(kind, "dim")


def print_impact(impact: MigrationImpact) -> None:
    """The tables that it touches, what is more than additive, its risks, and what squawk says."""
    if impact.rows:
        counted = ", ".join(f"{table} {rows:,}" for table, rows in sorted(impact.rows.items()))
        say(line("    rows in production: ", text(counted, "bold")))
    for statement in impact.statements:
        if statement.kind != "additive" or statement.probes or statement.old_code == "fails":
            _print_statement(statement)
    for risk in impact.risks:
        style = "bold red" if risk.grave else "yellow"
        say(line(f"    {risk.script} line {risk.line}  ", text("risk", style), f"  {risk.risk}"))
    for lint in impact.lints:
        say(line(f"    line {lint.line}  ", text(f"{lint.rule}: {lint.message}", "dim")))


def print_way_down(migration: PlannedMigration) -> None:
    """How the migration is undone, or why it is not."""
    way = migration.way_down
    if not migration.reversible:
        mark = way.mark if way else "point of no return"
        say(line("    way back: ", text(f"none: {mark.upper()}", "bold red")))
        say(*(text(f"      {reason}", "red") for reason in (way.because if way else ())))
        return
    made = " (made by us from the schemas, tried without rows)" if way and way.source == "generated" else ""
    say(f"    way back{made}:")
    say(*(text(f"      {part}", "dim") for part in (migration.down_sql or "").strip().splitlines()))


def _print_statement(statement: StatementImpact) -> None:
    reasons = "; ".join(statement.because)
    answer = "" if statement.old_code == "survives" else f"; the old code {statement.old_code}"
    say(
        line(
            f"    line {statement.line}  ",
            text(statement.kind, kind_style(statement.kind)),
            f"  {reasons}{answer}",
        )
    )
    for probe in statement.probes:
        say(line("      ", text(probe.verdict, _VERDICT_STYLES[probe.verdict]), f"  {_found(probe)}"))


def _found(probe: Probe) -> str:
    if probe.rows is None:
        return f"{probe.question} {probe.detail}"
    return f"{probe.rows:,} {probe.question}"
