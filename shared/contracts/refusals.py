"""A refused command's answer: what is wrong, where, and what to do."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

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


_BYTES_MAX = 512 << 10
"""Of all refusals of one answer: with its envelope, and spelled in any way, it fits into a message."""


def fitting(refusals: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """The refusals, as many as one message takes; the last one then says how many more there are."""
    room = _BYTES_MAX
    for number, each in enumerate(refusals):
        room -= len(each.model_dump_json().encode())
        if room < 0 and number:
            more = len(refusals) - number
            note = Refusal(
                kind=each.kind,
                reason=f"there are {more} more refusals, for which one answer has no room",
                cure="correct these first, then ask again",
            )
            return (*refusals[:number], note)
    return tuple(refusals)


class CommandRefused(Message):
    """Sent to the `answers` topic of the refused command, under the same key."""

    topic: ClassVar[Topic]
    command: str = Field(description="the type of the refused command")
    command_id: str
    subject: str
    refusals: Annotated[tuple[Refusal, ...], AfterValidator(fitting)] = Field(min_length=1)

    def key(self) -> str:
        return self.subject
