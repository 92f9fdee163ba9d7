"""Registration: once with pins, then as often as the definition changes."""

import pytest

from shared.contracts.projects import ProjectRegistered, RegisterProject
from shared.contracts.releases import WithdrawRelease
from shared.contracts.version_maps import VersionMapRecorded
from tests.registry.registry_world import LENA, MIRA, PINS, Registry, project


@pytest.fixture(autouse=True)
async def _published(registry: Registry) -> None:
    await registry.publish()
    await registry.sent()


async def test_a_new_project_is_announced_with_its_first_version_map(registry: Registry) -> None:
    event = await registry.register()
    assert (event.project, event.revision) == (project(), 1)
    registered, recorded = await registry.sent()
    assert registered == event
    assert isinstance(recorded, VersionMapRecorded)
    assert (recorded.version_map.pins, recorded.version_map.revision) == (PINS, 1)
    assert recorded.version_map.held_by is None


async def test_a_maintainer_registers_their_own_project(registry: Registry) -> None:
    answer = await registry.ask(RegisterProject(actor=MIRA, project=project(), pins=PINS))
    assert ProjectRegistered.model_validate(answer).project == project()


async def test_the_same_registration_again_is_answered_alike_and_nothing_is_sent(registry: Registry) -> None:
    first = await registry.register()
    await registry.sent()
    assert await registry.register() == first
    assert await registry.sent() == []


async def test_a_changed_registration_keeps_the_pins(registry: Registry) -> None:
    await registry.register()
    await registry.sent()
    changed = project(approvers=["olga@acme.example"], repository="/elsewhere")
    event = await registry.register(changed)
    assert (event.project, event.revision) == (changed, 2)
    assert await registry.sent() == [event]
    assert await registry.count("version_map_history") == 1


async def test_a_withdrawn_release_may_be_pinned_by_who_has_it(registry: Registry) -> None:
    await registry.ask(WithdrawRelease(actor=LENA, system="auth-system", version="1.2.4", reason="Slow."))
    assert (await registry.register()).revision == 1
