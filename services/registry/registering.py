"""Register Projects, and change what is registered: at once, or when enough approvers have agreed."""

from services.registry.domain import changing, registration, version_maps
from services.registry.store import RegistryTransaction
from shared.contracts.projects import Project, ProjectRegistered, RegisterProject
from shared.contracts.refusals import Refusal
from shared.contracts.registrations import ConfirmRegistration, Proposal, RegistrationProposed
from shared.contracts.values import Actor
from shared.contracts.version_maps import VersionMap
from shared.deciding import policy_digest
from shared.errors import Reject, forbidden
from shared.repository_urls import RepositoryRules, repository_identity


async def register_project(
    command: RegisterProject, tx: RegistryTransaction, rules: RepositoryRules
) -> ProjectRegistered | RegistrationProposed:
    """A new Project with its first pins, or a changed registration of one that pins what it pins."""
    project = command.project
    _may_act_for(command.actor, project.id)
    await tx.lock("project", project.id)
    known = await tx.registered(project.id)
    tx.under_policy(policy_digest(project if known is None else known.project))
    refusals, repository = await _unfit(project, tx, rules)
    standing = await tx.standing(project.id)
    if standing is None:
        releases = await tx.releases_of(list(command.pins))
        refusals += registration.unfit_pins(command.pins, releases)
    else:
        refusals += registration.moved_pins(project.id, command.pins, standing.version_map.pins)
    if refusals:
        raise Reject(*refusals)
    if known is not None:
        if known.project == project:
            return known
        waiting = await tx.proposal(project.id)
        change = changing.changed(
            known, project, command.actor, tx.now, propose=command.propose, waiting=waiting
        )
        return await _keep(change, waiting, repository, tx)
    by = (changing.word_of(command.actor, tx.now),)
    event = ProjectRegistered(project=project, changed_by=by, revision=1)
    await tx.save_project(event, repository)
    tx.send(event)
    if standing is None:
        first = VersionMap(project=project.id, pins=command.pins, revision=1, recorded_at=tx.now)
        standing = version_maps.recorded_at_first(first)
        tx.save_standing(standing, happened=True)
        tx.send(standing.event)
    return event


async def confirm_registration(
    command: ConfirmRegistration, tx: RegistryTransaction, rules: RepositoryRules
) -> ProjectRegistered | RegistrationProposed:
    """One approver's word more for a proposed change; the last one makes it."""
    _may_act_for(command.actor, command.project)
    await tx.lock("project", command.project)
    waiting = await tx.proposal(command.project)
    known = await tx.registered(command.project)
    if known is not None:
        tx.under_policy(policy_digest(known.project))
    change = changing.confirmed(command, known, waiting, tx.now)
    # It was fit when it was proposed, and another Project may have its repository since.
    refusals, repository = await _unfit(change.project, tx, rules)
    if refusals:
        raise Reject(*refusals)
    return await _keep(change, waiting, repository, tx)


async def _keep(
    change: ProjectRegistered | Proposal,
    waiting: Proposal | None,
    repository: str | None,
    tx: RegistryTransaction,
) -> ProjectRegistered | RegistrationProposed:
    if isinstance(change, Proposal):
        proposed = RegistrationProposed(proposal=change)
        if change != waiting:
            await tx.save_proposal(change)
            tx.send(proposed)
        return proposed
    await tx.save_project(change, repository)
    tx.send(change)
    return change


async def _unfit(
    project: Project, tx: RegistryTransaction, rules: RepositoryRules
) -> tuple[tuple[Refusal, ...], str | None]:
    """What is wrong with the Project, and its repository's identity."""
    refusals = registration.unfit(project, rules)
    repository = repository_identity(project.repository)
    if repository is not None and await tx.is_taken(repository, project.id):
        refusals += (registration.taken_repository(),)
    return refusals, repository


def _may_act_for(actor: Actor, project: str) -> None:
    if not actor.may_act_for(project):
        raise forbidden(
            f"{actor.id} may not register {project}",
            value=actor.role,
            cure=f"use the token of a maintainer of {project}, or of an SRE",
        )
