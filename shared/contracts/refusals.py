"""A refused command's answer: what is wrong, where, and what to do."""

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from shared.contracts.topics import Topic
from shared.contracts.values import Contract, Message


def _cut(most: int) -> BeforeValidator:
    """Cut longer text, never refuse it: what is refused may be of any length, and the answer is not."""
    return BeforeValidator(lambda text: text[:most] if isinstance(text, str) else text)


class Refusal(Contract):
    """Why a command was refused; the same words over HTTP and on the topic."""

    kind: Literal["invalid", "not-found", "forbidden", "conflict"]
    reason: Annotated[str, _cut(10_000)]
    field: Annotated[str, _cut(1_000)] | None = None
    value: Annotated[str, _cut(1_000)] | None = None
    cure: Annotated[str, _cut(2_000)]


class CommandRefused(Message):
    """Sent to the `answers` topic of the refused command, under the same key."""

    topic: ClassVar[Topic]
    command: str = Field(description="the type of the refused command")
    command_id: str
    subject: str
    refusals: tuple[Refusal, ...] = Field(min_length=1)

    def key(self) -> str:
        return self.subject
