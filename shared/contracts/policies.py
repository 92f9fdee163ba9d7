"""Policies: who may decide what for a Project, and how many persons a deploy needs."""

from typing import Annotated, Literal

from pydantic import Field

from shared.contracts.values import Contract, Timestamp

Act = Literal["start", "sign_off", "approve", "roll_back", "change", "weaken_masks"]
"""What a policy lists people for."""

ActorId = Annotated[str, Field(min_length=1, max_length=200, examples=["mira@acme.example"])]
_People = Annotated[tuple[ActorId, ...], Field(max_length=100)]


class Policy(Contract):
    """Who may decide for a Project. An empty list means every approver; for `start`, every maintainer."""

    approvals: int = Field(
        default=1,
        ge=1,
        le=20,
        description="so many different approvers, for a deploy and for a change of this",
    )
    single_person: bool = Field(
        default=False,
        description="one person may ask for an upgrade and approve it; without it, who asked does not count",
    )
    sign_off_by_others: bool = Field(
        default=False, description="who asked for the upgrade may not answer its sign-off checks either"
    )
    emergency: bool = Field(
        default=True, description="an SRE may roll back and change the registration, alone and on the record"
    )
    start: _People = Field(default=(), description="may ask for plans, start, continue and retry")
    sign_off: _People = ()
    approve: _People = Field(default=(), description="some of the approvers")
    roll_back: _People = Field(default=(), description="may undo what production has seen")
    change: _People = Field(
        default=(), description="some of the approvers: may change this, and what else carries weight"
    )
    weaken_masks: _People = Field(default=(), description="may accept that copies of production mask less")


class Rules(Contract):
    """A policy with its lists filled in: what counts for one Run. An empty list here means nobody."""

    approvals: int = Field(ge=1)
    single_person: bool
    sign_off_by_others: bool
    emergency: bool
    start: tuple[ActorId, ...] | None = Field(description="none: every maintainer of the Project")
    sign_off: tuple[ActorId, ...]
    approve: tuple[ActorId, ...]
    roll_back: tuple[ActorId, ...]
    change: tuple[ActorId, ...]
    weaken_masks: tuple[ActorId, ...]


class Agreement(Contract):
    """Why a deploy may begin: who has agreed, who asked for it, and the policy with which its Run began."""

    words: tuple[ActorId, ...] = Field(description="of every approver, for the candidate that is deployed")
    sign_offs: tuple[ActorId, ...] = ()
    asked_by: tuple[ActorId, ...]
    rules: Rules


class Word(Contract):
    """That a person has agreed, and when."""

    by: ActorId
    role: Literal["maintainer", "sre"] = "maintainer"
    at: Timestamp
