"""Who may change a registration: at once, or with the words of several approvers."""

from collections.abc import Sequence
from datetime import datetime

from services.registry.domain.weight import weighty_changes
from shared.contracts.policies import Rules, Word
from shared.contracts.projects import Project, ProjectRegistered
from shared.contracts.registrations import ConfirmRegistration, Proposal
from shared.contracts.values import Actor, canonical_digest
from shared.deciding import is_among, may, person_of, rules_of
from shared.errors import Reject, conflict, forbidden, invalid


def word_of(actor: Actor, now: datetime) -> Word:
    """That this person has spoken."""
    return Word(by=actor.id, role="sre" if actor.role == "sre" else "maintainer", at=now)


def changed(
    known: ProjectRegistered,
    project: Project,
    actor: Actor,
    now: datetime,
    *,
    propose: bool,
    waiting: Proposal | None,
) -> ProjectRegistered | Proposal:
    """The registration after this change, or the proposal that waits for more words.

    Raises `Reject` when the actor may not make the change and has not asked to propose it.
    """
    word, rules = word_of(actor, now), rules_of(known.project)
    changes = weighty_changes(known.project, project)
    if not changes:
        return _next(known, project, (word,))
    refusal = may(rules, "change", actor)
    if refusal is None and actor.role == "sre" and actor.id not in rules.change:
        return _next(known, project, (word,))
    if refusal is not None and not propose:
        raise forbidden(
            f"{actor.id} may not change {', '.join(changes)}: that carries weight",
            value=actor.id,
            cure=f"{refusal.cure}; or propose it to them: upgradepath project register --propose",
        )
    proposal = Proposal(
        digest=_digest(project, known.revision),
        project=project,
        base=known.revision,
        changes=changes,
        proposed=word,
        words=() if refusal else (word,),
        needed=rules.approvals,
    )
    current = waiting if waiting is not None and waiting.base == known.revision else None
    if current is not None and current.digest == proposal.digest:
        return _with_word(known, current, word) if refusal is None else current
    if refusal is not None and current is not None and current.words:
        raise conflict(
            f"another change waits already, with the word of {_names(current.words)}",
            field="project",
            value=current.digest,
            cure=f"wait for it, or ask an approver to propose yours: upgradepath project show {project.id}",
        )
    return _settled(known, proposal)


def confirmed(
    command: ConfirmRegistration,
    known: ProjectRegistered | None,
    waiting: Proposal | None,
    now: datetime,
) -> ProjectRegistered | Proposal:
    """The registration, or the proposal with one word more. Raises `Reject`."""
    if known is None or waiting is None or waiting.base != known.revision:
        raise conflict(
            f"no change of {command.project} waits to be confirmed",
            field="change",
            value=command.change,
            cure="the registration has changed since, or nothing was proposed: propose it anew",
        )
    if waiting.digest != command.change:
        raise conflict(
            "the proposed change is another one than you confirm",
            field="change",
            value=command.change,
            cure=f"look again: upgradepath project show {command.project}; its digest is {waiting.digest}",
        )
    if refusal := may(rules_of(known.project), "change", command.actor):
        raise Reject(refusal)
    if is_among(command.actor.id, (word.by for word in waiting.words)):
        raise conflict(
            f"{command.actor.id} has agreed already, and each person counts once",
            field="actor",
            value=command.actor.id,
            cure=f"somebody else confirms it: {', '.join(rules_of(known.project).change)}",
        )
    return _with_word(known, waiting, word_of(command.actor, now))


def lacking(proposal: Proposal, present: Project) -> str:
    """What a proposal waits for, in words; empty when it has everything."""
    missing = proposal.needed - len({person_of(word.by) for word in proposal.words})
    if missing > 0:
        return f"{missing} more of {', '.join(_open(rules_of(present), proposal.words))}"
    persons = {person_of(word.by) for word in (proposal.proposed, *proposal.words)}
    if _drops_two_persons(present, proposal.project) and len(persons) < 2:
        return "the word of a second person, as it lets one person decide alone"
    return ""


def _with_word(known: ProjectRegistered, proposal: Proposal, word: Word) -> ProjectRegistered | Proposal:
    if is_among(word.by, (each.by for each in proposal.words)):
        return _settled(known, proposal)
    return _settled(known, proposal.with_(words=(*proposal.words, word)))


def _settled(known: ProjectRegistered, proposal: Proposal) -> ProjectRegistered | Proposal:
    if lacking(proposal, known.project):
        if not _can_ever(known.project, proposal):
            raise invalid(
                "one person may not decide alone that one person decides",
                field="project.policy.single_person",
                value="true",
                cure="another maintainer proposes it (--propose) and you confirm it; or an SRE registers it",
            )
        return proposal
    words = {word.by: word for word in (proposal.proposed, *proposal.words)}
    return _next(known, proposal.project, tuple(words.values()))


def _can_ever(present: Project, proposal: Proposal) -> bool:
    """Whether anybody is left whose word would complete it."""
    persons = {*map(person_of, (proposal.proposed.by, *rules_of(present).change))}
    return not _drops_two_persons(present, proposal.project) or len(persons) > 1


def _drops_two_persons(before: Project, after: Project) -> bool:
    return after.policy.single_person and not before.policy.single_person


def _next(known: ProjectRegistered, project: Project, by: tuple[Word, ...]) -> ProjectRegistered:
    return ProjectRegistered(project=project, changed_by=by, revision=known.revision + 1)


def _open(rules: Rules, words: Sequence[Word]) -> list[str]:
    spoken = [word.by for word in words]
    return [person for person in rules.change if not is_among(person, spoken)]


def _names(words: Sequence[Word]) -> str:
    return ", ".join(word.by for word in words)


def _digest(project: Project, base: int) -> str:
    return canonical_digest({"project": project.model_dump(mode="json", by_alias=True), "base": base})
