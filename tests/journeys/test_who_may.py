"""Who may see and decide what: a Project is its maintainers' and nobody else's."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from local.world import ACTORS
from shared.identity.keys import SigningKey
from shared.identity.tokens import issue_token
from tests.journeys.conftest import Portals
from tests.support.people import LIBRARY, SRE, Library, Maintainer, Person, Refused
from tests.support.portal import Portal
from tests.support.system import Embedded


async def test_a_project_is_its_maintainers_own(embedded: Embedded, portals: Portals) -> None:
    portal = await portals.open(embedded, "vineyard")
    run = await portal.mira.plan("auth-system")
    stranger = Maintainer(embedded, "brewery-portal")
    reads = (
        f"/registry/projects/{portal.project}",
        f"/registry/version-maps/{portal.project}",
        f"/registry/version-maps/{portal.project}/history",
        f"/notifier/inbox/{portal.project}",
        f"/notifier/outdated?project={portal.project}",
        f"/planner/runs/{run.id}",
        f"/planner/runs/{run.id}/plan",
        f"/planner/runs/{run.id}/diff",
        f"/planner/plans/{run.plan}",
        f"/executor/runs/{run.id}",
    )
    for path in reads:
        for nobody in (stranger, Library(embedded)):
            assert await _status(nobody, path) == 404, path
        assert await _status(portal.mira, path) == 200, path
    for path in ("/registry/projects", "/planner/runs", "/notifier/outdated"):
        assert await stranger.get(path) == [], path

    decisions = {
        f"/planner/runs/{run.id}/start": {"plan": run.plan},
        f"/planner/runs/{run.id}/approve": {"candidate": "0" * 64},
        f"/planner/runs/{run.id}/sign-off": {"check": "partner-sign-off"},
        f"/planner/runs/{run.id}/cancel": {"reason": "because"},
        f"/planner/runs/{run.id}/roll-back": {"reason": "because"},
        "/planner/runs": {"project": portal.project, "systems": {"auth-system": None}},
        "/registry/projects": portal.registration(),
    }
    for path, body in decisions.items():
        for nobody in (stranger, Library(embedded)):
            # Nobody hears that there is a Project of which it is not a maintainer; nor may it register one.
            status = 403 if path == "/registry/projects" else 404
            assert await _status(nobody, path, body) == status, path
    await _roles(portal, run.id)
    assert await portal.mira.show(run.id) == run


async def _roles(portal: Portal, run: str) -> None:
    """Each role has its own: an SRE sees and does not approve, a maintainer does not publish."""
    embedded, approve = portal.system, f"/planner/runs/{run}/approve"
    body = {"candidate": "0" * 64}
    assert await _status(Person(embedded, SRE), f"/planner/runs/{run}") == 200
    assert await _status(Person(embedded, SRE), approve, body) == 403
    colleague = ACTORS["maintainer"].model_copy(update={"projects": (portal.project,)})
    assert await _status(Person(embedded, colleague), approve, body) == 403

    withdraw = "/registry/releases/auth-system/1.3.0/withdraw"
    assert await _status(portal.mira, withdraw, {"reason": "not mine to say"}) == 403
    with pytest.raises(Refused) as upload:
        await portal.mira.post("/registry/content", content=b"anything")
    assert upload.value.status == 403

    forged = issue_token(portal.mira.actor, SecretStr(SigningKey.new().pem()))
    for token in (forged, "no-token-at-all"):
        unknown = Person(embedded, LIBRARY, token)
        for path in ("/registry/releases", "/planner/runs", f"/planner/runs/{run}"):
            assert await _status(unknown, path) == 401, path
        assert await _status(unknown, approve, body) == 401


async def _status(who: Person, path: str, body: object = None) -> int:
    try:
        await (who.text(path) if body is None else who.post(path, body))
    except Refused as refused:
        return refused.status
    return 200
