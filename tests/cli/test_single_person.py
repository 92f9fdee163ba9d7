"""A Project in which one person decides alone says so on every page that somebody decides by."""

from __future__ import annotations

import pytest

from shared.deciding import rules_of
from tests.cli import documents
from tests.cli.conftest import Type
from tests.cli.small_services import Services
from tests.registry.registry_world import project

PAGES = {
    "project list": ("project", "list"),
    "project show": ("project", "show", "acme-portal"),
    "project policy": ("project", "policy", "acme-portal"),
    "plan show": ("plan", "show", documents.RUN),
    "run show": ("run", "show", documents.RUN),
    "run approve": ("run", "approve", documents.RUN),
}


@pytest.mark.parametrize("single", [True, False], ids=["one person", "two persons"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_who_decides(upgradepath: Type, services: Services, page: str, single: bool) -> None:
    """Would catch a page by which somebody approves their own upgrade without being told."""
    given = project(policy={"single_person": single})
    row = {
        "project": given.model_dump(mode="json", by_alias=True),
        "version_map": documents.version_map().model_dump(mode="json"),
    }
    services.documents["registry/projects"] = [row]
    services.documents["registry/projects/acme-portal"] = {**row, "revision": 1}
    plan = documents.plan()
    services.documents[f"planner/runs/{documents.RUN}/plan"] = {
        "plan": plan.model_dump(mode="json"),
        "digest": plan.content_digest(),
        "rules": rules_of(given).model_dump(mode="json"),
    }
    services.states = [documents.waiting_for_approval().model_copy(update={"rules": rules_of(given)})]
    shown = upgradepath(*PAGES[page], typed="n\n").stdout
    assert ("SINGLE-PERSON" in shown, "two persons" in shown) == (single, not single), shown
