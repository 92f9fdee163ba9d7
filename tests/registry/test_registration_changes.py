"""Who may change a registration: what a maintainer or a single approver tries against the others."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contracts.policies import Agreement
from shared.contracts.projects import Project, ProjectRegistered, RegisterProject
from shared.contracts.refusals import CommandRefused
from shared.contracts.registrations import ConfirmRegistration, RegistrationProposed
from shared.contracts.values import Actor
from shared.contracts.version_maps import HoldVersionMap, ReleaseVersionMap, VersionMapHeld
from shared.deciding import rules_of
from shared.errors import Reject
from tests.registry.registry_world import MIRA, PINS, SAM, Registry, project

OLAF = Actor(id="olaf@acme.example", role="maintainer", projects=("acme-portal",))
OLGA = Actor(id="olga@acme.example", role="maintainer", projects=("acme-portal",))
MALLORY = Actor(id=MIRA.id, role="maintainer", projects=("bolt-portal",))
TWO: dict[str, Any] = {"approvers": [MIRA.id, OLGA.id], "policy": {"approvals": 2}}


@pytest.fixture(autouse=True)
async def _published(registry: Registry) -> None:
    await registry.publish()


async def changed(registry: Registry, actor: Actor, given: Project, *, propose: bool = False) -> Any:
    return await registry.ask(RegisterProject(actor=actor, project=given, pins=PINS, propose=propose))


async def refused(registry: Registry, actor: Actor, given: Project, **how: bool) -> str:
    with pytest.raises(Reject) as rejected:
        await changed(registry, actor, given, **how)
    return rejected.value.refusals[0].kind


async def confirm(registry: Registry, actor: Actor, digest: str) -> Any:
    command = ConfirmRegistration(actor=actor, project="acme-portal", change=digest)
    return await registry.ask(command)


async def test_a_maintainer_who_is_no_approver_does_not_make_himself_one(registry: Registry) -> None:
    await registry.register()
    assert await refused(registry, OLAF, project(approvers=[OLAF.id])) == "forbidden"
    assert await refused(registry, MALLORY, project(approvers=[OLAF.id])) == "forbidden"
    renamed = project().definition.model_copy(update={"name": "Another name"})
    event = ProjectRegistered.model_validate(await changed(registry, OLAF, project(definition=renamed)))
    assert (event.project.approvers, [word.by for word in event.changed_by]) == ((MIRA.id,), [OLAF.id])


async def test_one_approver_or_an_sre_changes_it_and_the_event_says_who(registry: Registry) -> None:
    await registry.register()
    event = ProjectRegistered.model_validate(await changed(registry, MIRA, project(**TWO)))
    assert [(word.by, word.role) for word in event.changed_by] == [(MIRA.id, "maintainer")]
    event = ProjectRegistered.model_validate(await changed(registry, SAM, project()))
    assert [(word.by, word.role) for word in event.changed_by] == [(SAM.id, "sre")]


async def test_an_sre_does_not_where_the_policy_says_so(registry: Registry) -> None:
    await registry.register(project(policy={"emergency": False}))
    assert await refused(registry, SAM, project()) == "forbidden"


async def test_two_present_approvers_agree_each_once_to_exactly_one_change(registry: Registry) -> None:
    await registry.register(project(**TWO))
    wanted = project(approvers=[MIRA.id, OLAF.id], policy={"approvals": 2})
    proposal = RegistrationProposed.model_validate(await changed(registry, MIRA, wanted)).proposal
    assert ([word.by for word in proposal.words], proposal.needed) == ([MIRA.id], 2)
    for actor, digest in ((MIRA, proposal.digest), (OLAF, proposal.digest), (OLGA, "0" * 64)):
        with pytest.raises(Reject):
            await confirm(registry, actor, digest)
    # A plain maintainer does not put another change in its place.
    assert await refused(registry, OLAF, project(approvers=[OLAF.id]), propose=True) == "conflict"
    event = ProjectRegistered.model_validate(await confirm(registry, OLGA, proposal.digest))
    assert (event.project, event.revision) == (wanted, 2)
    assert [word.by for word in event.changed_by] == [MIRA.id, OLGA.id]
    with pytest.raises(Reject):
        await confirm(registry, OLGA, proposal.digest)


async def test_a_change_is_void_once_the_registration_is_another(registry: Registry) -> None:
    """Would catch a word of an approver who was removed meanwhile that still counts."""
    await registry.register(project(**TWO))
    waiting = await changed(registry, MIRA, project(approvers=[MIRA.id], policy={"approvals": 1}))
    proposal = RegistrationProposed.model_validate(waiting).proposal
    await changed(registry, SAM, project(approvers=[OLGA.id, OLAF.id], policy={"approvals": 2}))
    with pytest.raises(Reject, match="no change"):
        await confirm(registry, OLGA, proposal.digest)


async def test_that_one_person_decides_alone_takes_two_persons(registry: Registry) -> None:
    await registry.register()
    alone = project(policy={"single_person": True})
    assert await refused(registry, MIRA, alone) == "invalid"
    waiting = RegistrationProposed.model_validate(await changed(registry, OLAF, alone, propose=True))
    event = ProjectRegistered.model_validate(await confirm(registry, MIRA, waiting.proposal.digest))
    assert event.project.policy.single_person
    assert {word.by for word in event.changed_by} == {OLAF.id, MIRA.id}


def hold(run: str, *words: str, **agreed: Any) -> HoldVersionMap:
    rules = rules_of(project(approvers=[MIRA.id, OLGA.id]))
    agreement = Agreement(words=words, asked_by=(MIRA.id,), rules=rules, **agreed)
    numbers = {"run_id": run, "fence": 1, "expected_pins": PINS, "agreement": agreement}
    return HoldVersionMap.model_validate({"actor": OLGA, "project": "acme-portal", **numbers})


async def test_the_map_is_not_held_on_the_word_of_who_was_removed(registry: Registry) -> None:
    """Would catch a deploy that begins after the registry has answered that its approver is removed."""
    await registry.register(project(approvers=[MIRA.id, OLGA.id]))
    first, second = "run-0123456789ab", "run-ba9876543210"
    assert isinstance(await held(registry, hold(first, OLGA.id)), VersionMapHeld)
    await registry.hear(ReleaseVersionMap(actor=OLGA, project="acme-portal", run_id=first, fence=1))
    await changed(registry, MIRA, project(approvers=[MIRA.id, OLAF.id]))
    refused_ = await held(registry, hold(second, OLGA.id))
    assert isinstance(refused_, CommandRefused)
    assert [each.field for each in refused_.refusals] == ["agreement"]
    # Olaf was no approver when the Run began, and Mira asked for it.
    for words in ((OLAF.id,), (MIRA.id,), (MIRA.id.upper(),), ()):
        again = hold(second, *words).model_copy(update={"fence": 2 + len(words[:1])})
        assert isinstance(await held(registry, again), CommandRefused)


async def held(registry: Registry, command: HoldVersionMap) -> Any:
    await registry.sent()
    await registry.hear(command)
    [answer] = await registry.sent()
    return answer


async def test_two_spellings_of_one_maintainer_are_not_the_two_persons(registry: Registry) -> None:
    """Mira's other token proposes that she decides alone, and she confirms it."""
    await registry.register()
    alone = project(policy={"single_person": True})
    twin = MIRA.model_copy(update={"id": MIRA.id.upper()})
    assert await refused(registry, twin, alone, propose=True) == "invalid"


async def test_an_impossible_policy_is_not_registered(registry: Registry) -> None:
    with pytest.raises(Reject, match="different people"):
        await registry.register(project(policy={"approvals": 2}))
