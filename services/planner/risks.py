"""How risky a plan is, and why: a pure function of what the review found."""

from collections.abc import Iterable
from typing import Literal

from services.planner.breaking import foretold
from shared.contracts.facts import PlannedMigration, ReviewFacts

Risk = Literal["low", "medium", "high"]
_LINES_SHOWN = 5


def risk_of(
    facts: ReviewFacts, grave: Iterable[str], irreversible: tuple[str, ...], known: Iterable[str] = ()
) -> tuple[Risk, tuple[str, ...]]:
    """The level and every reason, the gravest first.

    `grave` and `known`, which is less grave, are those that the review did not bring.
    """
    high = (
        *grave,
        *(f"{folder} cannot be undone without a backup" for folder in irreversible),
        *(f"{file.path} will conflict" for file in facts.files if file.conflict),
        *foretold(facts.migrations, "would fail"),
        *(f"prepare would refuse production's schema: {line}" for line in facts.differs),
        *(sentence for migration in facts.migrations for sentence in _sql_risks(migration, grave=True)),
    )
    medium = (
        *known,
        *(_changing(migration) for migration in facts.migrations),
        *foretold(facts.migrations, "loses"),
        *(sentence for migration in facts.migrations for sentence in _sql_risks(migration, grave=False)),
        *(f"{file.path} carries the partner's edits" for file in facts.files if file.partner_edited),
        *(f"workflow rule {rule.rule} depends on what changes" for rule in facts.rules),
    )
    level: Risk = "high" if high else "medium" if medium else "low"
    return level, (*high, *medium)


def _changing(migration: PlannedMigration) -> str:
    if migration.impact is None:
        return f"{migration.folder} changes the schema"
    reasons = (each.because for each in migration.impact.statements if each.kind == migration.impact.kind)
    because = "; ".join(dict.fromkeys(reason for some in reasons for reason in some))
    return f"{migration.folder} is {migration.impact.kind}: {because}"


def _sql_risks(migration: PlannedMigration, *, grave: bool) -> Iterable[str]:
    """Each risk that the SQL names, once, with the lines where it stands."""
    lines: dict[tuple[str, str], list[int]] = {}
    for each in migration.impact.risks if migration.impact else ():
        if each.grave is grave:
            lines.setdefault((each.script, each.risk), []).append(each.line)
    for (script, risk), found in lines.items():
        shown = ", ".join(map(str, found[:_LINES_SHOWN]))
        more = f" and {len(found) - _LINES_SHOWN} more" if len(found) > _LINES_SHOWN else ""
        yield f"{migration.folder}/{script} line {shown}{more}: {risk}"
