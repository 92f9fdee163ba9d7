"""What a migration will do to rows and to running code, and how it is undone: known before it happens."""

from typing import Literal

from pydantic import Field

from shared.contracts.values import Contract

MigrationClass = Literal["additive", "backfill", "blocking", "rewriting", "destructive"]
"""Mildest first. A backfill writes rows; blocking keeps writers (or readers) waiting while rows are read;
rewriting writes the whole table anew under a lock; destructive takes data or names away."""

OldCode = Literal["survives", "may fail", "fails"]
"""What becomes of the code that runs while the statement does."""


class StatementImpact(Contract):
    """One statement of a migration."""

    line: int = Field(ge=1)
    statement: str = Field(description="its beginning, on one line")
    kind: MigrationClass
    because: tuple[str, ...]
    old_code: OldCode
