"""All messages by their CloudEvents type: what the wire, the schemas and the tests are made from."""

from shared.contracts import (
    notifications,
    projects,
    refusals,
    releases,
    runs,
    stages,
    version_maps,
)
from shared.contracts.values import Message

MESSAGES: tuple[type[Message], ...] = (
    releases.PublishRelease,
    releases.WithdrawRelease,
    releases.ReleasePublished,
    releases.ReleaseWithdrawn,
    projects.RegisterProject,
    projects.ProjectRegistered,
    version_maps.HoldVersionMap,
    version_maps.RecordVersionMap,
    version_maps.ReleaseVersionMap,
    version_maps.VersionMapRecorded,
    version_maps.VersionMapHeld,
    version_maps.VersionMapReleased,
    notifications.NotificationReady,
    notifications.NotificationClosed,
    runs.RequestPlan,
    runs.StartRun,
    runs.ContinueRun,
    runs.RetryStage,
    runs.SignOff,
    runs.ApproveCandidate,
    runs.RejectCandidate,
    runs.CancelRun,
    runs.RollBackRun,
    runs.PlanReady,
    runs.RunChanged,
    stages.RunExecutorStage,
    stages.RunValidatorStage,
    stages.CancelExecutorStage,
    stages.CancelValidatorStage,
    stages.StageFinished,
    refusals.CommandRefused,
)

BY_TYPE: dict[str, type[Message]] = {message.type_name(): message for message in MESSAGES}
