"""What a migration will do to rows and to running code, and how it is undone: known before it happens."""

from typing import Literal

from pydantic import Field

from shared.contracts.values import Contract

MigrationClass = Literal["additive", "backfill", "blocking", "rewriting", "destructive"]
"""Mildest first. A backfill writes rows; blocking keeps writers (or readers) waiting while rows are read;
rewriting writes the whole table anew under a lock; destructive takes data or names away."""

OldCode = Literal["survives", "may fail", "fails"]
"""What becomes of the code that runs while the statement does."""


Verdict = Literal["fits", "would fail", "loses", "writes", "unknown"]


class Probe(Contract):
    """What the rows that exist say of one statement; counts only, never a value."""

    question: str
    verdict: Verdict
    rows: int | None = Field(default=None, description="rows that the question is true of")
    detail: str = ""


class StatementImpact(Contract):
    """One statement of a migration."""

    line: int = Field(ge=1)
    statement: str = Field(description="its beginning, on one line")
    kind: MigrationClass
    because: tuple[str, ...]
    old_code: OldCode
    probes: tuple[Probe, ...] = ()


WayDownMark = Literal["reversible", "restore only", "point of no return"]
"""Whether statements lead back, or only the backup does, or not even that."""


class WayDown(Contract):
    """How one migration is undone. `source` says whose statements lead back."""

    mark: WayDownMark
    source: Literal["package", "generated", "none"]
    because: tuple[str, ...] = Field(default=(), description="why it is not simply reversible")


class Lint(Contract):
    """What squawk says of a line."""

    line: int = Field(ge=1)
    rule: str
    message: str
    cure: str = ""


class SqlRisk(Contract):
    """What a person should know of a statement before it runs: rights, row security, rows that go."""

    script: Literal["migration.sql", "down.sql"] = "migration.sql"
    line: int = Field(ge=1)
    statement: str = Field(description="its beginning, on one line")
    risk: str
    grave: bool = Field(
        default=False, description="it opens rows or rights to others, takes all rows, or nobody can say"
    )


class MigrationImpact(Contract):
    """One migration before it runs: its gravest class, each statement, what squawk says, whom it touches."""

    kind: MigrationClass
    statements: tuple[StatementImpact, ...]
    lints: tuple[Lint, ...] = ()
    rows: dict[str, int] = Field(
        default={}, description="of each table that is there and touched, in production"
    )
    risks: tuple[SqlRisk, ...] = Field(
        default=(),
        description="rights, row security, rows that go, and SQL that is made while it runs",
        exclude_if=lambda risks: not risks,
    )
