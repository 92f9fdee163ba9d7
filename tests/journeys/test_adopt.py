"""A Prisma project that knows nothing of us is adopted as it is, and its next upgrade is an ordinary Run."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from pathlib import Path

from typer.testing import CliRunner, Result

from cli.main import app
from local import example
from shared.prisma.fragments import merge
from shared.prisma.ownership import Unified
from tests.journeys.conftest import Portals
from tests.support.portal import NEW_PINS, OLD_PINS, Portal, connected
from tests.support.system import Embedded

PRISMA = "packages/db/prisma"
SINGLE = f"{PRISMA}/schema.prisma"
INIT, LATER = "20250701000000_init", "20250702000000_people_can_be_suspended"
SUSPENDED = "20250701080400_auth-system_user_suspended_at"


async def test_a_plain_prisma_project_is_adopted_and_upgraded(
    embedded: Embedded, portals: Portals, tmp_path: Path
) -> None:
    portal = await portals.make(embedded, "saltworks")
    plain = await make_plain(portal, tmp_path)
    before = portal.head()

    shown = await adopt(portal, "--dry-run", "--json")
    assert shown.exit_code == 1
    (open_base,) = (each for each in json.loads(shown.stdout)["refusals"])
    assert "auth-system: 1.2.4, 2 files edited by you" in open_base["reason"]
    assert "--pin auth-system=1.2.4" in open_base["cure"]
    refused = await adopt(portal)
    assert (refused.exit_code, portal.branches()) == (1, ["main"])

    proposed = await adopt(portal, "--pin", "auth-system=1.2.4")
    assert proposed.exit_code == 1
    assert "to do     hosting/activate is named in upgradepath.toml" in proposed.stdout
    assert f"applied   auth-system/20250110090000_init: {INIT} (within)" in proposed.stdout
    assert f"applied   auth-system/20250602090000_user_suspended_at: {LATER} (same file)" in proposed.stdout
    assert f"prisma    {PRISMA}/schema, {PRISMA}/migrations" in proposed.stdout
    assert "to do     User.email: in masking.toml, [User], take the question mark away" in proposed.stdout
    assert "mask rules, which mask nothing yet" in proposed.stderr
    for one in ("production", "staging"):
        named = f"missing   environments.{one}.database: secret 'saltworks-portal-{one}-database'"
        assert named in proposed.stdout
    assert portal.head() == before
    complete(plain)

    adopted = await adopt(portal, "--pin", "auth-system=1.2.4")
    assert adopted.exit_code == 0, adopted.output
    assert "registered saltworks-portal" in adopted.stdout
    assert "proposes" not in adopted.stdout
    example.git(plain, "checkout", "-q", "main")
    example.git(plain, "merge", "-q", "--no-ff", "origin/adopt-upgradepath", "-m", "Adopt upgradepath")
    example.git(plain, "push", "-q", "origin", "main", ":adopt-upgradepath")

    await portal.until_known(dict([example.NEW_RELEASE]))
    assert await portal.mira.pins() == OLD_PINS
    done = await portal.mira.upgrade("auth-system")
    assert done.status == "succeeded"
    assert await portal.mira.pins() == NEW_PINS
    assert portal.head() == done.deployed_commit == await portal.live_commit()
    assert "model SessionEvent" in portal.file(f"{PRISMA}/schema/auth-system.prisma")
    rows = "select string_agg(migration_name, ' ' order by started_at) from _prisma_migrations"
    applied = (await portal.ask(rows)).split()
    assert applied[:2] == [INIT, LATER]
    assert [name[15:] for name in applied[2:]] == [
        "auth-system_session_events",
        "auth-system_user_status",
        "auth-system_user_status_required",
    ]


async def make_plain(portal: Portal, folder: Path) -> Path:
    """The portal as if it had never heard of us, in repository and database; a developer's clone of it."""
    clone = folder / "clone"
    example.git(folder, "clone", "-q", str(portal.example.repository), str(clone))
    for ours in ("upgradepath.toml", "version-map.yaml"):
        (clone / ours).unlink()
    unified = merge({path.name: path.read_text() for path in (clone / "prisma/schema").glob("*.prisma")})
    assert isinstance(unified, Unified)
    (clone / "packages/db").mkdir(parents=True)
    shutil.move(clone / "prisma", clone / PRISMA)
    lines = "\n".join(unified.files.values()).splitlines(keepends=True)
    (clone / SINGLE).write_text("".join(line for line in lines if "@mask" not in line))
    shutil.rmtree(clone / PRISMA / "schema")

    history = clone / PRISMA / "migrations"
    scripts = {path.parent.name: path.read_text() for path in sorted(history.glob("*/migration.sql"))}
    later = scripts.pop(SUSPENDED)
    for path in history.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    init = "".join(f"-- {name}\n{sql.replace('    ', ' ')}\n" for name, sql in scripts.items())
    for name, sql in ((INIT, init), (LATER, later)):
        (history / name).mkdir()
        (history / name / "migration.sql").write_text(sql)
    example.git(clone, "add", "-A")
    example.git(clone, "commit", "-q", "-m", "A plain Prisma project")
    example.git(clone, "push", "-q", "origin", "main")

    async with connected(portal.example.production_url) as connection:
        await connection.execute("drop schema upgradepath cascade; delete from _prisma_migrations")
        for name, sql in ((INIT, init), (LATER, later)):
            await connection.execute(
                "insert into _prisma_migrations"
                " (id, checksum, migration_name, finished_at, applied_steps_count)"
                " values (gen_random_uuid(), $1, $2, clock_timestamp(), 1)",
                hashlib.sha256(sql.encode()).hexdigest(),
                name,
            )
    return clone


def complete(clone: Path) -> None:
    """What the maintainer adds to the proposal: how the portal is hosted and checked, and the mask rules."""
    example.git(clone, "fetch", "-q", "origin")
    example.git(clone, "checkout", "-q", "-b", "adopting", "origin/adopt-upgradepath")
    declared = (example.EXAMPLES / "project" / "upgradepath.toml").read_text()
    for old, new in (
        ('id = "acme-portal"', 'id = "saltworks-portal"'),
        ("secret:acme-", "secret:saltworks-"),
    ):
        declared = declared.replace(old, new)
    where = f'\n[prisma]\nschemas = "{PRISMA}/schema"\nmigrations = "{PRISMA}/migrations"\n'
    assert where in (clone / "upgradepath.toml").read_text()
    (clone / "upgradepath.toml").write_text(declared + where)
    for path in (example.EXAMPLES / "project" / "prisma" / "schema").glob("*.prisma"):
        proposed = clone / PRISMA / "schema" / path.name
        assert read_without_rules(proposed) == read_without_rules(path)
        shutil.copyfile(path, proposed)
    example.git(clone, "commit", "-q", "-a", "-m", "How we host it")
    example.git(clone, "push", "-q", "origin", "HEAD:adopt-upgradepath")
    example.git(clone, "fetch", "-q", "origin")


def read_without_rules(file: Path) -> list[list[str]]:
    """Every line as its words."""
    lines = file.read_text().splitlines()
    return [line.split() for line in lines if line.strip() and "@mask" not in line]


async def adopt(portal: Portal, *more: str) -> Result:
    """Typed by the maintainer."""
    typed = [
        "project",
        "adopt",
        str(portal.example.repository),
        "--approver",
        portal.mira.actor.id,
        "--single-person",
        *more,
    ]
    environment = {
        "UPGRADEPATH_URL": portal.system.url,
        "UPGRADEPATH_TOKEN": portal.system.token(portal.mira.actor),
        "UPGRADEPATH_ADOPT_DATABASE": portal.example.production_url,
    }
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, typed, env=environment))
