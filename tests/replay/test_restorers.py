"""What a rebuild may touch: rows. It reaches nothing that sends, decides or acts on the world."""

from __future__ import annotations

import grimp
import pytest

from services.restorers import REBUILDABLE

FORBIDDEN = (
    "shared.messaging.relay",
    "shared.messaging.consumer",
    "shared.http",
    "shared.clients.git",
    "shared.clients.environments",
    "shared.clients.processes",
    *(f"services.{name}.handlers" for name in REBUILDABLE),
    *(f"services.{name}.app" for name in REBUILDABLE),
    "services.registry.checking",
    "services.planner.timers",
)


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("services", "shared")


@pytest.mark.parametrize("service", REBUILDABLE)
def test_a_rebuild_can_neither_send_nor_decide_nor_act(imports: grimp.ImportGraph, service: str) -> None:
    """By what it imports, however indirectly: no flag that could be forgotten stands between."""
    reached = imports.find_upstream_modules(f"services.{service}.rebuild")
    engine = imports.find_upstream_modules("shared.replay.rebuild")
    touched = reached | engine
    assert set(FORBIDDEN) <= imports.modules, "what is forbidden is there, under this name"
    assert "shared.replay.restorer" in touched
    # The package and all below it; `planner.approvals` is none of `planner.app`.
    below = tuple(f"{name}." for name in FORBIDDEN)
    assert sorted(name for name in touched if f"{name}.".startswith(below)) == []
