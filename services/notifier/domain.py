"""What a Project is told: a pure function of what it pins and of the Releases that are known.

Nothing here depends on the order in which that became known, so no order loses a notification.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.contracts.notifications import ChangeType, Notification
from shared.contracts.releases import Release
from shared.contracts.version_maps import Pins
from shared.versions import change_type, precedence

Releases = Mapping[str, Release]
"""The known Releases of one System, by version."""


@dataclass(frozen=True)
class Offer:
    """What whoever pins a certain version is told of the newest one."""

    version: str
    change: ChangeType
    what_changed: tuple[str, ...]
    migration_required: bool
    required: bool
    breaking: tuple[str, ...]
    signed: bool

    @property
    def behind(self) -> int:
        """How many versions lie ahead, the newest among them."""
        return len(self.what_changed)

    def told_to(
        self, project: str, system: str, pinned: str, supersedes: tuple[str, ...], now: datetime
    ) -> Notification:
        # One release makes thousands of these, out of values that were all validated when they came in.
        return Notification.model_construct(
            project=project,
            system=system,
            version=self.version,
            pinned=pinned,
            change=self.change,
            what_changed=self.what_changed,
            migration_required=self.migration_required,
            required=self.required,
            breaking=self.breaking,
            signed=self.signed,
            supersedes=supersedes,
            state="open",
            reason=None,
            notified_at=now,
        )


@dataclass(frozen=True)
class Standing:
    """One System in one Project: its pin, and the notification that is open."""

    project: str
    system: str
    pinned: str | None
    open: Notification | None


def learn(known: Releases, release: Release) -> Releases:
    """What is known after a release event. Withdrawn stays withdrawn, whatever arrives later."""
    before = known.get(release.version)
    if before is not None and before.withdrawn is not None:
        return known
    return {**known, release.version: release}


def moved(old: Pins, new: Pins) -> list[str]:
    """The Systems whose pin differs."""
    return sorted(system for system in {*old, *new} if old.get(system) != new.get(system))


def offer(pinned: str, releases: Releases) -> Offer | None:
    """The newest Release after `pinned`; None when there is none to tell of.

    Withdrawn ones are not offered, and pre-releases only to who pins one.
    """
    ahead = _ahead(pinned, releases.values())
    if not ahead:
        return None
    newest, at = ahead[0], releases.get(pinned)
    installed = {migration.name for migration in at.migrations} if at is not None else set()
    return Offer(
        version=newest.version,
        change=change_type(pinned, newest.version),
        what_changed=tuple(f"{release.version}: {release.summary}" for release in ahead),
        migration_required=any(migration.name not in installed for migration in newest.migrations),
        # Who jumps over a version still meets what it demands and what it breaks.
        required=any(release.required for release in ahead),
        breaking=tuple(sentence for release in ahead for sentence in release.breaking),
        signed=newest.signature is not None,
    )


def behind(
    pinned: Iterable[tuple[str, str]], releases: Mapping[str, Releases]
) -> dict[tuple[str, str], Offer]:
    """The offer to each of these (System, version) that has one."""
    offers = {(system, at): offer(at, releases[system]) for system, at in pinned}
    return {pin: offered for pin, offered in offers.items() if offered is not None}


def settle(
    standing: Standing, offered: Offer | None, releases: Releases, now: datetime
) -> tuple[Notification, ...]:
    """The notifications that change so that just what is offered is open: the closed one comes first."""
    told, pinned = standing.open, standing.pinned
    changes: tuple[Notification, ...] = ()
    supersedes: tuple[str, ...] = ()
    if told is not None and offered is not None and told.version == offered.version:
        supersedes = told.supersedes
    elif told is not None:
        closed = told.model_copy(update=_ending(told, pinned, offered, releases))
        changes = (closed,)
        if closed.state == "superseded":
            supersedes = (told.version, *told.supersedes)
    if offered is None or pinned is None:
        return changes
    ready = offered.told_to(standing.project, standing.system, pinned, supersedes, now)
    if told is not None and ready == told.model_copy(update={"notified_at": now}):
        return ()
    return (*changes, ready)


def _ahead(pinned: str, releases: Iterable[Release]) -> Sequence[Release]:
    """What may be offered to whoever pins this version, the newest first."""
    here = precedence(pinned)
    ahead = [
        release
        for release in releases
        if release.withdrawn is None
        and precedence(release.version) > here
        and (here.prerelease is not None or precedence(release.version).prerelease is None)
    ]
    return sorted(ahead, key=lambda release: precedence(release.version), reverse=True)


def _ending(
    told: Notification, pinned: str | None, offered: Offer | None, releases: Releases
) -> dict[str, Any]:
    """The state in which a notification ends, and why."""
    release = releases.get(told.version)
    if pinned is None:
        return {"state": "superseded", "reason": f"{told.system} is not pinned any more"}
    if precedence(pinned) >= precedence(told.version):
        return {"state": "adopted", "reason": f"{pinned} is pinned"}
    if release is not None and release.withdrawn is not None:
        return {"state": "withdrawn", "reason": release.withdrawn}
    by = f"{offered.version} is out" if offered is not None else f"it is not offered to {pinned}"
    return {"state": "superseded", "reason": by}
