"""The two tables that every service has.

Documents are kept as `json`, not `jsonb`: a message that is sent again must have the same bytes, and
`jsonb` orders the keys anew.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, Identity, LargeBinary, MetaData, Sequence, func
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


OUTBOX_EPOCHS = Sequence("outbox_epochs", metadata=InboxRow.metadata)
"""Counts the leaderships of a service's relays."""

MESSAGE_TABLES = InboxRow.metadata
"""What a service's first migration creates for its messages."""
