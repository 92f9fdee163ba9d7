"""What people say about a Run, and for whom it waits."""

from typing import Literal

from pydantic import Field

from shared.contracts.values import Contract, StageName, Timestamp


class BlockedBy(Contract):
    """For what and for whom a Run waits, and what would let it go on."""

    who: Literal["maintainer", "approver", "sre", "registry"]
    what: str
    cures: tuple[str, ...] = Field(description="commands that would help")


class Approval(Contract):
    """A person's word, bound to what it was given for."""

    by: str
    at: Timestamp
    subject: str = Field(description="a candidate's digest, a plan's, or a check's name")
    remark: str = ""


class Resumption(Contract):
    """That an SRE made the Run go on, and why."""

    by: str
    at: Timestamp
    stage: StageName = Field(description="from which it went on")
    reason: str
