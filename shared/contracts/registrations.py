"""Changes of a registration that carry weight: proposed by one, and confirmed by its approvers."""

from typing import ClassVar

from pydantic import Field

from shared.contracts.policies import Word
from shared.contracts.projects import Project
from shared.contracts.topics import PROJECT_COMMANDS, PROJECT_EVENTS, Topic
from shared.contracts.values import Command, Contract, Digest, Message, ProjectId


class ConfirmRegistration(Command):
    """An approver's word for exactly this proposed change of the registration."""

    topic: ClassVar[Topic] = PROJECT_COMMANDS
    answers: ClassVar[Topic] = PROJECT_EVENTS
    project: ProjectId
    change: Digest = Field(description="the proposal's digest")

    def key(self) -> str:
        return self.project


class Proposal(Contract):
    """A change of a registration that waits for approvers' words."""

    digest: Digest = Field(
        description="of the whole Project as it would be, with the revision that it changes"
    )
    project: Project = Field(description="as it would be")
    base: int = Field(ge=1, description="the revision that it changes")
    changes: tuple[str, ...] = Field(description="the fields that carry weight and would change")
    proposed: Word
    words: tuple[Word, ...] = Field(description="of the present approvers, each once")
    needed: int = Field(ge=1, description="so many words in all")


class RegistrationProposed(Message):
    """A change of a registration waits for approvers' words, or has got one more."""

    topic: ClassVar[Topic] = PROJECT_EVENTS
    proposal: Proposal

    def key(self) -> str:
        return self.proposal.project.id

    def identity(self) -> str:
        return f"{self.proposal.project.id}/{self.proposal.digest}/{len(self.proposal.words)}"
