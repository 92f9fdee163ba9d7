"""One function per command: load, ask the domain, save, answer."""

from collections.abc import Callable
from functools import partial

from services.registry.domain import version_maps
from services.registry.registering import confirm_registration, register_project
from services.registry.store import RegistryTransaction
from shared.contracts.envelope import release_trace
from shared.contracts.policies import Agreement
from shared.contracts.projects import RegisterProject
from shared.contracts.registrations import ConfirmRegistration
from shared.contracts.releases import PublishRelease, ReleasePublished, ReleaseWithdrawn, WithdrawRelease
from shared.contracts.values import Actor
from shared.contracts.version_maps import HoldVersionMap, RecordVersionMap, ReleaseVersionMap
from shared.deciding import broken, policy_digest
from shared.errors import Reject, conflict, forbidden, not_found
from shared.messaging.inbox import Handlers
from shared.repository_urls import RepositoryRules


def handlers(wake_gate: Callable[[], None], rules: RepositoryRules) -> Handlers:
    """The registry's handlers; `wake_gate` is called when a package waits to be checked.

    `rules` say which repositories are taken.
    """

    async def publish_release(command: PublishRelease, tx: RegistryTransaction) -> ReleasePublished | None:
        """The verdict if it is known already; otherwise the gate checks the package and answers."""
        _must_be_library(command.actor, "publish")
        await tx.lock("system", command.system)
        if (known := await published_alike(command, tx)) is not None:
            return known
        assert tx.cause is not None
        await tx.add_check(command, tx.cause)
        tx.after_commit(wake_gate)
        return None

    return {
        PublishRelease: publish_release,
        WithdrawRelease: withdraw_release,
        RegisterProject: partial(register_project, rules=rules),
        ConfirmRegistration: partial(confirm_registration, rules=rules),
        HoldVersionMap: change_version_map,
        RecordVersionMap: change_version_map,
        ReleaseVersionMap: change_version_map,
    }


async def published_alike(command: PublishRelease, tx: RegistryTransaction) -> ReleasePublished | None:
    """The event of this very package if it is out; None if the version is new.

    Raises `Reject` when the version is out with other bytes, or was withdrawn.
    """
    row = await tx.release_row(command.system, command.version)
    if row is None:
        return None
    release = row.release()
    name = f"{command.system} {command.version}"
    if release.package != command.package:
        raise conflict(
            f"{name} is published with other bytes, and a Release never changes",
            field="package",
            value=command.package,
            cure="raise the version and publish that",
        )
    if release.withdrawn is not None:
        raise conflict(
            f"{name} was withdrawn: {release.withdrawn}",
            field="version",
            value=command.version,
            cure="publish a higher version; what is withdrawn does not come back",
        )
    if release.signature is None and command.signature is not None:
        raise conflict(
            f"{name} is published without a signature, and a Release never changes",
            field="signature",
            value=command.signature,
            cure="publish a higher version that is signed",
        )
    return ReleasePublished.model_validate(row.published)


async def withdraw_release(command: WithdrawRelease, tx: RegistryTransaction) -> ReleaseWithdrawn:
    """Withdrawn once; a second reason changes nothing."""
    _must_be_library(command.actor, "withdraw")
    await tx.lock("system", command.system)
    row = await tx.release_row(command.system, command.version)
    if row is None:
        raise not_found(
            f"{command.system} {command.version} is not published",
            field="version",
            value=command.version,
            cure=f"see what is: upgradepath release list {command.system}",
        )
    if row.withdrawal is not None:
        return ReleaseWithdrawn.model_validate(row.withdrawal)
    event = ReleaseWithdrawn(
        release=row.release().model_copy(update={"withdrawn": command.reason}),
        revision=await tx.next_revision(command.system),
    )
    await tx.withdraw(event)
    tx.send(event, traceparent=release_trace(command.system, command.version))
    return event


async def change_version_map(
    command: HoldVersionMap | RecordVersionMap | ReleaseVersionMap, tx: RegistryTransaction
) -> version_maps.Event:
    """Compare, then set. What is so already is answered by the event that made it so."""
    agreement = command.agreement if isinstance(command, HoldVersionMap) else None
    if agreement is not None:
        # A change of the policy that was answered before counts, and none comes between.
        await tx.lock("project", command.project)
    standing = await tx.standing(command.project)
    if standing is None:
        raise not_found(
            f"{command.project} is not registered",
            field="project",
            value=command.project,
            cure="register the Project first",
        )
    changed = version_maps.change(command, standing, tx.now)
    if agreement is not None and changed.event is not standing.event:
        await _must_still_be_agreed(command.project, agreement, tx)
    tx.save_standing(changed, happened=changed.event is not standing.event)
    tx.send(changed.event)
    return changed.event


async def _must_still_be_agreed(project: str, agreement: Agreement, tx: RegistryTransaction) -> None:
    """An approver who was removed after the last approval does not count when the deploy begins."""
    known = await tx.registered(project)
    if known is None:
        return
    tx.under_policy(policy_digest(known.project))
    if refusal := broken(known.project, agreement):
        raise Reject(refusal)


def _must_be_library(actor: Actor, verb: str) -> None:
    if actor.role != "library":
        raise forbidden(
            f"{actor.id} may not {verb} releases",
            value=actor.role,
            cure="use a token with the role library",
        )
