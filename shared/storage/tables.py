"""The tables that every service has: inbox, outbox and audit log.

Documents are kept as `json`, not `jsonb`: a message that is sent again must have the same bytes, and
`jsonb` orders the keys anew.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Sequence,
    func,
)
from sqlmodel import Field, SQLModel


class InboxRow(SQLModel, table=True):
    """A message that was handled: its body's digest and the verdict, so that a repeat is answered alike."""

    __tablename__ = "inbox"
    metadata = MetaData()

    source: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    digest: str
    verdict: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    handled_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now())
    )


class OutboxRow(SQLModel, table=True):
    """A message that is to be sent; it is deleted once the broker has acknowledged it."""

    __tablename__ = "outbox"
    metadata = InboxRow.metadata

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(), primary_key=True))
    topic: str
    key: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    body: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    headers: list[list[str | None]] = Field(
        sa_column=Column(JSON, nullable=False), description="[name, base64 of the value, or null] pairs"
    )
    created_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now())
    )
    epoch: int = Field(
        default=0,
        sa_column=Column(BigInteger, nullable=False, server_default="0", index=True),
        description="of the leadership in which its process sends it from memory; 0 for none",
    )


class AuditRow(SQLModel, table=True):
    """One sealed entry; `entry` is the exact text whose sha256 is `hash`."""

    __tablename__ = "audit"
    __table_args__ = (Index("audit_by_project", "project", "seq"), Index("audit_by_who", "who", "seq"))
    metadata = InboxRow.metadata

    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    hash: str
    at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    who: str | None = None
    project: str | None = None
    refused: bool
    waiting: int | None = Field(default=None, sa_column=Column(BigInteger, unique=True))
    entry: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    head: dict[str, Any] | None = Field(
        default=None, sa_column=Column(JSON), description="signed, of the last entry that was sealed with it"
    )


class AuditWaitingRow(SQLModel, table=True):
    """A note that was committed with its decision and has no place in the chain yet."""

    __tablename__ = "audit_waiting"
    metadata = InboxRow.metadata

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    noted_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now())
    )
    note: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


OUTBOX_EPOCHS = Sequence("outbox_epochs", metadata=InboxRow.metadata)
"""Counts the leaderships of a service's relays."""

MESSAGE_TABLES = InboxRow.metadata
"""What a service's first migration creates for its messages."""
