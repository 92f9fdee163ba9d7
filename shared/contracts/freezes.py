"""A freeze: while it lasts no deploy starts, of no Project. What has begun goes on."""

from typing import ClassVar

from pydantic import Field

from shared.contracts.topics import EXECUTOR_COMMANDS, RUN_COMMANDS, RUN_EVENTS, Topic, in_pool
from shared.contracts.values import Command, Contract, Message, PoolName, Timestamp

FLEET = "fleet"
"""The key and subject of what concerns every Project."""


class Freeze(Contract):
    """Who froze every deploy, why, and since when."""

    by: str
    reason: str
    since: Timestamp


class _FleetCommand(Command):
    topic: ClassVar[Topic] = RUN_COMMANDS
    answers: ClassVar[Topic] = RUN_EVENTS
    reason: str = Field(min_length=1, max_length=2000)

    def key(self) -> str:
        return FLEET


class FreezeDeploys(_FleetCommand):
    """Let no deploy start from now on, of whatever Project."""


class ThawDeploys(_FleetCommand):
    """Deploys may start again; those that wait for it go on by themselves."""


class _FreezeEvent(Message):
    topic: ClassVar[Topic] = RUN_EVENTS
    revision: int = Field(ge=1, description="raised by each of the two events")

    def key(self) -> str:
        return FLEET

    def identity(self) -> str:
        return f"{FLEET}/{self.revision}"


class DeploysFrozen(_FreezeEvent):
    """No deploy starts any more."""

    freeze: Freeze


class DeploysThawed(_FreezeEvent):
    """Deploys start again."""

    by: str
    reason: str
    at: Timestamp


class HoldDeploys(Message):
    """The executor's part of a freeze: it starts no deploy, not even one that it was told of before."""

    topic: ClassVar[Topic] = EXECUTOR_COMMANDS
    freeze: Freeze | None = Field(description="none: deploys may start again")
    revision: int = Field(ge=1)
    pool: PoolName | None = Field(
        default=None,
        description="whose executors are told; none for the common ones",
        exclude_if=lambda pool: pool is None,
    )

    def route(self) -> Topic:
        return in_pool(self.topic, self.pool)

    def key(self) -> str:
        return FLEET

    def identity(self) -> str:
        told = FLEET if self.pool is None else f"{FLEET}/{self.pool}"
        return f"{told}/{self.revision}"
