"""Several Systems in one Run, all or nothing: one branch, one candidate, one record."""

from __future__ import annotations

from pathlib import Path

from tests.journeys.conftest import Portals
from tests.support.people import Library, record_of, refusal_of
from tests.support.portal import OLD_PINS, next_version
from tests.support.system import Embedded

NEW = {"notifications-system": "0.3.3", "onboarding-system": "0.5.5"}


async def test_two_systems_move_together(embedded: Embedded, portals: Portals, tmp_path: Path) -> None:
    library = Library(embedded)
    notices = next_version("notifications-system", "0.3.2", "0.3.3", tmp_path, "Notices are green")
    (notices / "files" / "static" / "notices.css").write_text("li { color: green }\n")
    await library.publish(notices)
    form = next_version("onboarding-system", "0.5.4", "0.5.5", tmp_path, "The form is green")
    (form / "files" / "static" / "onboarding.css").write_text("form { color: green }\n")
    manifest = form / "system.toml"
    manifest.write_text(
        manifest.read_text().replace(
            'notifications-system = ">=0.3,<0.4"', 'notifications-system = ">=0.3.3,<0.4"'
        )
    )
    await library.publish(form)

    portal = await portals.open(embedded, "garden")
    mira = portal.mira
    await portal.until_known(NEW)
    alone = await refusal_of(mira.plan("onboarding-system"))
    assert "notifications-system" in f"{alone.reason} {alone.cure}"

    planned = await mira.plan("onboarding-system", "notifications-system")
    plan = await mira.read_plan(planned.id)
    # What another one needs comes first.
    assert [each.system for each in plan.upgrades] == ["notifications-system", "onboarding-system"]
    await mira.start(planned)
    done = await mira.approve(await mira.proven(planned.id))
    assert done.status == "succeeded"
    assert record_of(done, "deploy").attempt == 1
    assert await mira.pins() == {**OLD_PINS, **NEW}
    assert portal.file("systems/notifications-system/static/notices.css") == "li { color: green }"
    assert portal.file("systems/onboarding-system/static/onboarding.css") == "form { color: green }"
    assert portal.git("rev-list", "--first-parent", "--count", "main") == "2"
    assert len(await mira.get("/planner/runs")) == 1
    history = await mira.get(f"/registry/version-maps/{portal.project}/history")
    assert [each["event"] for each in history].count("VersionMapRecorded") == 2
    await portal.assert_no_staging(done)
