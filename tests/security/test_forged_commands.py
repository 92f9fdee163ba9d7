"""Commands on topics by people who do not prove who they are: each is refused, and changes nothing."""

from __future__ import annotations

import pytest

from shared.contracts.catalogue import MESSAGES
from shared.contracts.envelope import source_of
from shared.contracts.freezes import FreezeDeploys
from shared.contracts.refusals import CommandRefused
from shared.contracts.values import Actor, Command
from shared.errors import Reject
from shared.http.door import perform
from shared.identity.proofs import SIGNED
from tests.security.desks import (
    COMMANDS,
    FORGERIES,
    MAL,
    SAM,
    SOURCE,
    Desk,
    ended,
    is_unproven,
    record,
)
from tests.support.keys import token

# --- every command, every forgery ----------------------------------------------------------------


def test_every_command_of_people_is_tried_and_every_other_needs_a_signature() -> None:
    """A new message belongs to one of the two, or anybody at the broker could send it."""
    commands = {message for message in MESSAGES if issubclass(message, Command)}
    people = {message for message in commands if message.sent_by == "person"}
    assert {message.__name__ for message in people} == set(COMMANDS)
    assert {message.type_name() for message in commands - people} <= set(SIGNED)
    assert not {message.type_name() for message in people} & set(SIGNED)


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_command_is_refused_and_changes_nothing(both: dict[str, Desk], forgery: str) -> None:
    before = {name: await desk.state() for name, desk in both.items()}
    for kind, command in COMMANDS.items():
        desk = next(desk for desk in both.values() if type(command) in desk.inbox.handlers)
        forged = record(command, FORGERIES[forgery](command.actor), name=f"forged-{kind}")
        await desk.take(forged)
        await desk.take(forged)  # as after a crash before the offset was committed
        [refused] = await desk.refusals()
        assert (refused.command, refused.command_id) == (command.type_name(), f"forged-{kind}"), kind
        assert is_unproven(refused), (kind, refused)
        assert await desk.ids() == set(), kind
    assert {name: await desk.state() for name, desk in both.items()} == before


async def test_a_proven_command_comes_to_its_handler(both: dict[str, Desk]) -> None:
    """Else the test above would be passed by a service that refuses everybody."""
    for kind, command in COMMANDS.items():
        desk = next(desk for desk in both.values() if type(command) in desk.inbox.handlers)
        await desk.take(record(command, token(command.actor), name=f"proven-{kind}"))
        assert not any(map(is_unproven, await desk.refusals())), kind
        assert (source_of(command.actor, SOURCE), f"proven-{kind}") in await desk.ids(), kind


async def test_an_actor_has_no_project_that_its_token_does_not_name(planner: Desk) -> None:
    claimed = MAL.model_copy(update={"projects": ("globex-portal", "acme-portal")})
    command = COMMANDS["RequestPlan"].with_(actor=claimed)
    await planner.take(record(command, token(MAL)))
    [refused] = await planner.refusals()
    assert refused.refusals[0].field == "actor.projects"


async def test_the_law_of_roles_and_projects_is_that_of_http(both: dict[str, Desk]) -> None:
    """A proven stranger is refused in the same words as over HTTP, and so is one of another role."""
    for kind, command in COMMANDS.items():
        desk = next(desk for desk in both.values() if type(command) in desk.inbox.handlers)
        foreign = command.with_(actor=MAL)
        await desk.take(record(foreign, token(MAL)))
        [by_topic] = await desk.refusals()
        with pytest.raises(Reject) as over_http:
            await perform(desk.inbox, foreign, f"over-http-{kind}")
        assert by_topic.refusals == over_http.value.refusals, kind


async def test_one_forged_among_many_costs_the_others_nothing(planner: Desk) -> None:
    freeze = FreezeDeploys(actor=SAM, reason="the database moves")
    forged = FreezeDeploys(actor=SAM, reason="forged")
    batch = [
        record(forged, None),
        record(freeze, token(SAM)),
        record(forged, "x"),
        record(forged, ended(SAM)),
    ]
    await planner.take(*batch)
    sent = await planner.sent()
    assert [one.envelope.type for one in sent if "Frozen" in one.envelope.type] == [
        "upgrades.DeploysFrozen.v1"
    ]
    assert sum(isinstance(one.message, CommandRefused) for one in sent) == 3


@pytest.mark.parametrize("person", ["mira\0", "mira\n", "\u202emira", "\u2028"])
async def test_a_claimed_name_that_cannot_be_printed_stops_nobody(planner: Desk, person: str) -> None:
    """No database takes a NUL: the batch would be tried again for ever."""
    command = FreezeDeploys(actor=Actor(id=person, role="sre"), reason="forged")
    await planner.take(record(command, None), record(command, token(SAM)))
    rows = await planner.rows("select topic from outbox")
    assert {topic for (topic,) in rows} == {"upgrades.planner.dead.v1"}
