"""Several Systems in one Run, all or nothing: one branch, one candidate, one record."""

from __future__ import annotations

from pathlib import Path

from tests.journeys.conftest import Portals
from tests.support.people import Library, record_of, refusal_of
from tests.support.portal import OLD_PINS, next_version
from tests.support.system import Embedded

NEW = {"notifications-system": "0.3.3", "onboarding-system": "0.5.5"}


async def test_two_systems_move_together(own_world: Embedded, portals: Portals, tmp_path: Path) -> None:
    library = Library(own_world)
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

    portal = await portals.open(own_world, "garden")
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


async def test_a_system_is_added_and_taken_back_by_ordinary_runs(
    own_world: Embedded, portals: Portals, tmp_path: Path
) -> None:
    """The refusal of a release that requires a lacking System names the command that works."""
    library = Library(own_world)
    await library.publish(ledger_package(tmp_path))
    quotes = next_version("quote-engine", "0.9.1", "0.10.0", tmp_path, "Quotes are booked")
    manifest = quotes / "system.toml"
    text = manifest.read_text()
    assert "[requires]\n" in text
    manifest.write_text(text.replace("[requires]\n", '[requires]\nledger-system = ">=0.1"\n'))
    await library.publish(quotes)

    portal = await portals.open(own_world, "ledgers")
    mira = portal.mira
    await portal.until_known({"quote-engine": "0.10.0"})
    before = await portal.production()
    alone = await refusal_of(mira.plan("quote-engine"))
    *_, command = alone.cure.partition("upgradepath plan create ")
    assert command == f"{portal.project} quote-engine@0.10.0 --add ledger-system@0.1.0"

    planned = await mira.plan("quote-engine@0.10.0", add=["ledger-system@0.1.0"])
    plan = await mira.read_plan(planned.id)
    assert [(each.system, each.change) for each in plan.upgrades] == [
        ("ledger-system", "added"),
        ("quote-engine", "minor"),
    ]
    await mira.start(planned)
    done = await mira.approve(await mira.proven(planned.id))
    assert done.status == "succeeded"
    assert await mira.pins() == {**OLD_PINS, "quote-engine": "0.10.0", "ledger-system": "0.1.0"}
    assert portal.file("systems/ledger-system/ledger.py") == "BOOKED = 1"
    assert portal.file("config/ledger-system.toml") == 'currency = "EUR"'
    assert "model LedgerEntry" in portal.file("prisma/schema/ledger-system.prisma")
    assert "ledger-system: 0.1.0" in portal.file("version-map.yaml")
    assert await portal.ask("select count(*) from ledger_entries") == 0

    undone = await mira.roll_back(done.id)
    assert undone.status == "rolled-back"
    assert await mira.pins() == OLD_PINS
    after = await portal.production()
    assert (after.files, after.schema, after.users) == (before.files, before.schema, before.users)
    await portal.assert_no_staging(undone)


async def test_a_system_leaves_and_its_rows_stay(
    own_world: Embedded, portals: Portals, tmp_path: Path
) -> None:
    """A removal takes files, settings and pin; the rows, and what masks them, stay; it can be rolled back."""
    await Library(own_world).publish(ledger_package(tmp_path))
    portal = await portals.open(own_world, "leaver")
    mira = portal.mira
    await portal.until_known({"auth-system": "1.3.0"})
    planned = await mira.plan(add=["ledger-system"])
    await mira.start(planned)
    await mira.approve(await mira.proven(planned.id))
    await portal.ask("insert into ledger_entries (text) values ('kept')")
    before = await portal.production()

    needed = await refusal_of(mira.plan(remove=["notifications-system"]))
    assert "onboarding-system 0.5.4 requires notifications-system" in needed.reason
    assert "--remove onboarding-system" in needed.cure

    planned = await mira.plan(remove=["ledger-system"])
    await mira.start(planned)
    done = await mira.approve(await mira.proven(planned.id))
    assert done.status == "succeeded"
    assert await mira.pins() == OLD_PINS
    assert "ledger" not in portal.file("version-map.yaml")
    listed = portal.git("ls-tree", "-r", "--name-only", "main").splitlines()
    left = [path for path in listed if "ledger" in path]
    assert {path.split("/")[0] for path in left} == {"prisma"}
    assert left[-1] == "prisma/schema/ledger-system.prisma"
    assert await portal.ask("select text from ledger_entries") == "kept"

    undone = await mira.roll_back(done.id)
    assert undone.status == "rolled-back"
    assert await mira.pins() == {**OLD_PINS, "ledger-system": "0.1.0"}
    after = await portal.production()
    assert (after.files, after.schema) == (before.files, before.schema)


def ledger_package(folder: Path) -> Path:
    """The first version of a System with a table, a file and a setting of its own."""
    texts = {
        "system.toml": 'name = "ledger-system"\nversion = "0.1.0"\nsummary = "Entries are booked"\n'
        '[config]\ncurrency = "EUR"\n',
        "CHANGELOG.md": "## 0.1.0\n\nEntries are booked.\n",
        "MIGRATION.md": "## 0.1.0\n\nNothing to do.\n",
        "files/ledger.py": "BOOKED = 1\n",
        "prisma/schema.prisma": "model LedgerEntry {\n  id Int @id @default(autoincrement())\n"
        '  /// @mask hash\n  text String\n  @@map("ledger_entries")\n}\n',
        "prisma/migrations/20260101000000_ledger/migration.sql": "CREATE TABLE ledger_entries ("
        "id serial NOT NULL, text text NOT NULL, CONSTRAINT ledger_entries_pkey PRIMARY KEY (id));\n",
    }
    for path, text in texts.items():
        file = folder / "ledger-system-0.1.0" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder / "ledger-system-0.1.0"
