"""Ways back after production was written: by a person's word, by themselves, and where there is none."""

from __future__ import annotations

from pathlib import Path

from local import example
from services.executor.clients.postgres import schema_digest
from shared.contracts.runs import RunView
from tests.journeys.conftest import Portals
from tests.support.people import Library, record_of
from tests.support.portal import NEW_PINS, OLD_PINS, Portal, Production, next_version
from tests.support.system import Embedded

SICK_IN_PRODUCTION = """
import os
from pathlib import Path

if os.environ["UPGRADEPATH_ENVIRONMENT"] == "production" and Path("systems/auth-system/events.py").exists():
    raise SystemExit("the directory of customers does not answer")
"""
NOTE_COLUMN = '-- AlterTable\nALTER TABLE "quotes" ADD COLUMN "note" TEXT;\n'


async def test_a_deployed_upgrade_is_taken_back_and_done_again(embedded: Embedded, portals: Portals) -> None:
    portal = await portals.open(embedded, "orchard")
    mira, before = portal.mira, await portal.production()
    config = portal.file("config/auth-system.toml")
    first = await mira.upgrade("auth-system")
    assert first.status == "succeeded"
    await portal.ask(
        "insert into users (email, name, password_hash, status)"
        " values ('new@orchard.example', 'New', 'x', 'suspended') returning id"
    )

    undone = await mira.roll_back(first.id)
    await _as_before(portal, undone, before)
    assert portal.file("config/auth-system.toml") == config
    assert "Revert the upgrade" in portal.git("log", "-1", "--format=%s")
    kept = "select suspended_at is not null from users where email = 'new@orchard.example'"
    assert await portal.ask(kept) is True
    await mira.until("/notifier/outdated", lambda rows: "auth-system" in {row["system"] for row in rows})

    second = await mira.upgrade("auth-system")
    assert second.status == "succeeded"
    assert await mira.pins() == NEW_PINS
    assert await portal.live_commit() == portal.head() == second.deployed_commit
    assert await portal.ask("select status from users where email = 'new@orchard.example'") == "suspended"


async def test_what_is_sick_in_production_only_is_rolled_back_by_itself(
    embedded: Embedded, portals: Portals
) -> None:
    health = (example.EXAMPLES / "project" / "hosting" / "health.py").read_text()
    edits = {"hosting/health.py": health + SICK_IN_PRODUCTION}
    portal = await portals.open(embedded, "quarry", edits=edits)
    before = await portal.production()
    undone = await portal.mira.upgrade("auth-system")
    deploy = record_of(undone, "deploy")
    assert deploy.status == "failed"
    [finding] = deploy.findings
    said = finding.detail.partition("are in production's database: ")[2]
    assert "the directory of customers does not answer" in await portal.ask(said)
    assert "directory" not in finding.detail, "what production prints stays there"
    assert undone.reason is not None
    assert undone.reason.startswith("deploy did not succeed")
    await _as_before(portal, undone, before)
    history = await portal.mira.get(f"/registry/version-maps/{portal.project}/history")
    assert [each["event"] for each in history] == [
        "VersionMapReleased",
        "VersionMapHeld",
        "VersionMapRecorded",
    ]


async def test_what_only_the_backup_undoes_is_announced_and_undone_by_consent_only(
    own_world: Embedded, portals: Portals, tmp_path: Path
) -> None:
    await Library(own_world).publish(_without_way_back(tmp_path))
    portal = await portals.open(own_world, "mill")
    await portal.until_known({"quote-engine": "0.10.0"})
    mira, before = portal.mira, await portal.production()
    planned = await mira.plan("quote-engine")
    plan = await mira.read_plan(planned.id)
    (folder,) = plan.irreversible
    assert plan.reversibility == "restore only"
    assert folder.endswith("_quote-engine_quote_note")
    assert plan.risk == "high"
    await mira.start(planned)
    done = await mira.approve(await mira.proven(planned.id))
    assert done.status == "succeeded"
    await portal.ask("insert into users (email, name, password_hash) values ('late', 'l', 'x') returning id")

    stuck = await mira.roll_back(done.id)
    assert (stuck.status, stuck.stage) == ("rolling-back", "roll-back")
    (finding,) = record_of(stuck, "roll-back").findings
    assert (finding.kind, finding.subject) == ("data-loss", folder)
    assert "--restore-backup" in finding.cure
    assert await portal.ask("select count(*) from users where email = 'late'") == 1
    assert (await mira.version_map())["held_by"] == done.id

    undone = await mira.roll_back(done.id, restore_backup=True)
    await _as_before(portal, undone, before)
    assert await portal.ask("select count(*) from users where email = 'late'") == 0


async def _as_before(portal: Portal, undone: RunView, before: Production) -> None:
    """Code, pins, schema and old rows are what they were, the Run says so, and nothing of it is left."""
    assert undone.status == "rolled-back", undone
    assert len(undone.proof) == 5
    assert all(line.same for line in undone.proof), undone.proof
    assert portal.git("rev-parse", "main^{tree}") == before.files
    assert await portal.live_commit() == portal.head()
    assert await schema_digest(portal.example.production_url) == before.schema
    assert await portal.mira.pins() == OLD_PINS
    assert (await portal.mira.version_map())["held_by"] is None
    await portal.assert_no_staging(undone)


def _without_way_back(folder: Path) -> Path:
    package = next_version("quote-engine", "0.9.1", "0.10.0", folder, "Quotes carry a note")
    migration = package / "prisma" / "migrations" / "20260401090000_quote_note"
    migration.mkdir()
    # What it overwrites no statement brings back.
    (migration / "migration.sql").write_text(f"{NOTE_COLUMN}\nUPDATE quotes SET product = upper(product);\n")
    schema = package / "prisma" / "schema.prisma"
    field = '  createdAt  DateTime @default(now()) @map("created_at")\n  user '
    text = schema.read_text()
    assert text.count(field) == 1
    schema.write_text(text.replace(field, f"  /// @mask hash\n  note       String?\n{field}"))
    return package
