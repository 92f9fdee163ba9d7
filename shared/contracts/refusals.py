"""A refused command's answer: what is wrong, where, and what to do."""

from typing import ClassVar, Literal

from pydantic import Field

from shared.contracts.topics import Topic
from shared.contracts.values import Contract, Message


class Refusal(Contract):
    """Why a command was refused; the same words over HTTP and on the topic."""

    kind: Literal["invalid", "not-found", "forbidden", "conflict"]
    reason: str
    field: str | None = None
    value: str | None = None
    cure: str


class CommandRefused(Message):
    """Sent to the `answers` topic of the refused command, under the same key."""

    topic: ClassVar[Topic]
    command: str = Field(description="the type of the refused command")
    command_id: str
    subject: str
    refusals: tuple[Refusal, ...] = Field(min_length=1)

    def key(self) -> str:
        return self.subject
