"""What the planner keeps of a Run besides what everybody is shown: an event carries the whole state."""

from datetime import datetime

from pydantic import Field

from shared.contracts.facts import ApplyFacts, ChecksFacts, DeployFacts, MigrateFacts, PrepareFacts
from shared.contracts.projects import Project
from shared.contracts.tasks import Upgrade
from shared.contracts.values import Commit, Contract, Digest
from shared.contracts.version_maps import Pins


class RunOrigin(Contract):
    """What a Run was opened with; none of it ever changes."""

    registration: Project = Field(description="as it was when the plan was asked for")
    upgrades: tuple[Upgrade, ...]
    pins_after: Pins


class RunWork(Contract):
    """What the stages brought back, as long as it holds, and where the Run stands in its own work."""

    prepared: PrepareFacts | None = None
    applied: ApplyFacts | None = None
    migrated: MigrateFacts | None = None
    checked: tuple[ChecksFacts, ...] = ()
    deployed: DeployFacts | None = None
    base: Commit | None = Field(default=None, description="production's head that the branch contains")
    production_schema: Digest | None = Field(default=None, description="before the Run")
    tries: int = Field(default=0, description="of the present stage, since somebody last decided")
    deploy_began: bool = False
    holds_map: bool = False
    recorded: bool = Field(default=False, description="the version map names the new pins")
    backup: Digest | None = None
    restore_backup: bool = False
    ending: str = Field(default="succeeded", description="the status in which it will end")
    wake_at: datetime | None = Field(default=None, description="when its deadline or its next try is due")
    asked: int = Field(default=0, description="how often the registry was asked for what the Run awaits")
    copy_again: bool = Field(
        default=False,
        description="rows are copied anew before migrations run",
        exclude_if=lambda again: not again,
    )
    masks: Digest | None = Field(
        default=None,
        description="the mask rules that were accepted with its start",
        exclude_if=lambda masks: masks is None,
    )
    masks_before: Digest | None = Field(
        default=None,
        description="the mask rules that its Project had accepted before",
        exclude_if=lambda masks: masks is None,
    )
    masks_at: datetime | None = Field(
        default=None,
        description="when its start accepted them",
        exclude_if=lambda at: at is None,
    )
    awaits_thaw: bool = Field(default=False, description="it deploys as soon as deploys are not frozen")
