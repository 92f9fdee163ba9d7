"""The audit log as it travels: who decided or was refused what, chained by hashes, with a signed head."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.contracts.topics import AUDIT_EVENTS, Topic
from shared.contracts.values import Contract, Digest, Message, ProjectId, Timestamp

NO_ENTRY = "0" * 64
"""Stands for the hash of the entry before the first one."""
LogName = Annotated[str, Field(min_length=1, max_length=80, examples=["planner", "executor.acme"])]
Verdict = Literal["accepted", "refused"]


class AuditRefusal(Contract):
    """One reason of a refusal, without the value that was refused."""

    kind: Annotated[str, Field(max_length=40)]
    reason: Annotated[str, Field(max_length=500)]
    field: Annotated[str, Field(max_length=200)] | None = None


class AuditDetail(Contract):
    """Something else that was said."""

    name: Annotated[str, Field(max_length=100)]
    value: Annotated[str, Field(max_length=400)]


class AuditNote(Contract):
    """A decision or a refused try, before it has its place in the chain."""

    at: Timestamp = Field(description="the database's clock")
    who: Annotated[str, Field(max_length=200)] | None = Field(description="none where nobody was proven")
    role: Annotated[str, Field(max_length=40)] | None
    origin: Annotated[str, Field(max_length=300)] = Field(
        description="`http` and the client's address; topic/partition/offset; or the part of the service"
    )
    what: Annotated[str, Field(max_length=200)] = Field(
        description="the command's name, or method and path", examples=["ApproveCandidate"]
    )
    subject: Annotated[str, Field(max_length=300)]
    project: ProjectId | None = None
    run: Annotated[str, Field(max_length=100)] | None = None
    message: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="the command's id: its Idempotency-Key or ce_id"
    )
    correlation: Annotated[str, Field(max_length=1024)] | None = None
    digest: Digest | None = Field(default=None, description="the plan, candidate or package decided on")
    policy: Digest | None = Field(default=None, description="the policy under which it was decided")
    details: tuple[AuditDetail, ...] = Field(default=(), description="other fields of the command, cut")
    verdict: Verdict
    refusals: tuple[AuditRefusal, ...] = ()


class AuditEntry(AuditNote):
    """An entry of the log. Its hash is the sha256 of its canonical JSON: sorted keys, no spaces, UTF-8."""

    log: LogName
    seq: int = Field(ge=1)
    previous: Digest = Field(description="the hash of the entry before; zeros before the first")


class AuditHead(Contract):
    """A place in the chain, signed by the service: nothing before it can change unseen."""

    log: LogName
    seq: int = Field(ge=0, description="of the last entry; 0 of an empty log")
    hash: Digest
    at: str = Field(max_length=40, description="RFC 3339, the database's clock")
    kid: str = Field(max_length=200, description="which key of the service")
    signature: str = Field(pattern=r"^[0-9a-f]{128}$", description="Ed25519, in hexadecimal")


class AuditRecorded(Message):
    """These entries were added to the log; the head is that of the last one."""

    topic: ClassVar[Topic] = AUDIT_EVENTS
    entries: tuple[AuditEntry, ...] = Field(min_length=1, max_length=1000)
    head: AuditHead

    def key(self) -> str:
        return self.head.log

    def identity(self) -> str:
        return f"{self.head.log}/{self.head.seq}/{self.head.hash}"
