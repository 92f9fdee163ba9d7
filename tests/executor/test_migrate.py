"""Migrate installs, proves and applies the migrations, and starts staging on what it proved."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from services.executor.clients.postgres import schema_digest
from services.executor.stages import migrate, prepare
from services.executor.stages.project_tree import kept_ref
from shared.contracts.tasks import MigrateTask
from shared.errors import Failure
from tests.executor.conftest import NewDatabase, SavedWorlds
from tests.executor.project_world import (
    BRANCH,
    CONTRACT,
    EXPAND,
    PEOPLE,
    RUN,
    SCHEMA,
    UPGRADED,
    World,
    make_world,
    proven,
)

SCHEMA_FILE = "prisma/schema/main.prisma"
INDEX = "  @@index([email])\n  @@map"


async def test_the_candidate_stands_in_staging_and_again(tmp_path: Path, new_database: NewDatabase) -> None:
    world = await make_world(tmp_path, new_database)
    before = await schema_digest(world.production)
    facts = await proven(world)
    assert [done.folder for done in facts.migrations] == [each.folder for each in world.installed]
    assert facts.production_schema == before == await schema_digest(world.production)
    assert facts.staging_schema == await schema_digest(world.staging_url) != before
    assert await world.clone.head(BRANCH) == facts.commit
    assert await world.clone.ref(kept_ref(RUN)) == facts.commit
    assert facts.address == "http://127.0.0.1:9"
    assert await world.live(RUN) == facts.commit
    assert await world.value(world.staging_url, "SELECT count(status) FROM users") == PEOPLE

    first = world.installed[0]
    place = f"prisma/migrations/{first.folder}"
    assert await world.clone.show(facts.commit, f"{place}/migration.sql") == EXPAND.encode()
    source = tomllib.loads((await world.clone.show(facts.commit, f"{place}/source.toml") or b"").decode())
    assert source == {"system": "auth-system", "name": first.name, "checksum": first.checksum}

    (parent,) = [each.commit for each in await world.clone.log(world.base, facts.commit)][1:]
    for commit in (parent, facts.commit):
        again = await migrate.run(world.job("migrate"), world.migrate_task(commit), world.tools)
        assert [step.name for step in again.steps] == [step.name for step in facts.steps]
        assert again.model_copy(update={"steps": facts.steps}) == facts
    assert not world.journal.touched_production()
    assert (
        await world.value(world.production, "SELECT count(*) FROM pg_database WHERE datname ~ 'proof'") == 0
    )


async def branch_with(world: World, sql: str, schema: str = UPGRADED) -> MigrateTask:
    """The maintainer's correction of the second migration, pushed to the branch."""
    files = {f"prisma/migrations/{world.installed[1].folder}/migration.sql": sql, SCHEMA_FILE: schema}
    changes: dict[str, bytes | None] = {path: text.encode() for path, text in files.items()}
    return world.migrate_task(await world.commit(BRANCH, changes, "Correct it"))


async def test_an_edited_migration_makes_staging_anew(worlds: SavedWorlds) -> None:
    world, first = await worlds.proven()
    schema = UPGRADED.replace("  @@map", '  @@index([status], map: "by_status")\n  @@map', 1)
    task = await branch_with(world, CONTRACT + "CREATE INDEX by_status ON users (status);", schema)
    second = await migrate.run(world.job("migrate"), task, world.tools)
    assert second.staging_schema != first.staging_schema
    assert second.migrations[1].checksum != first.migrations[1].checksum
    assert await world.value(world.staging_url, "SELECT count(*) FROM users") == PEOPLE


async def test_a_failing_migration_is_told_and_its_correction_taken(worlds: SavedWorlds) -> None:
    world, _ = await worlds.proven()
    bad = await branch_with(world, "ALTER TABLE users ADD CHECK (id > 1);")
    with pytest.raises(Failure, match="is violated by some row"):
        await migrate.run(world.job("migrate"), bad, world.tools)
    good = await branch_with(world, CONTRACT)
    facts = await migrate.run(world.job("migrate"), good, world.tools)
    assert len(facts.migrations) == 2


async def test_rows_that_were_corrected_are_copied_again(worlds: SavedWorlds) -> None:
    """Catches a Run that fails on rows of yesterday, without saying whose they are or how newer ones come."""
    world, first = await worlds.proven()
    assert first.copied is not None
    assert await world.value(world.staging_url, "SELECT current_database()::text") == first.copied.database
    # It asks the rows, and leaves nothing that its way down would have to take away.
    asks = "ALTER TABLE users ADD CONSTRAINT asked CHECK (id > 1); ALTER TABLE users DROP CONSTRAINT asked;"
    task = await branch_with(world, f"{CONTRACT}{asks}")
    for _ in ("as it was", "production's rows alone are corrected"):
        with pytest.raises(Failure, match="is violated by some row") as caught:
            await migrate.run(world.job("migrate"), task, world.tools)
        _, rows = caught.value.outcome.findings
        assert rows.subject == f"the rows in {first.copied.database}"
        assert "a copy of production's rows of 20" in rows.detail
        assert rows.cure == f"upgradepath run continue {RUN} --copy-again"
        await world.execute(world.production, "DELETE FROM users WHERE id = 1")
    again = task.model_copy(update={"copy_again": True})
    job = world.job("migrate")
    facts = await migrate.run(job, again, world.tools)
    assert facts.copied is not None
    assert facts.copied.made_at > first.copied.made_at
    assert await world.value(world.staging_url, "SELECT count(*) FROM users") == PEOPLE - 1
    # A lease that begins again within the attempt has them already.
    taken_up = await migrate.run(replace(job, generation=job.generation + 1), again, world.tools)
    assert taken_up.copied == facts.copied
    await world.tools.trials.end(RUN)


async def test_a_migration_that_depends_on_rows_is_not_proven(worlds: SavedWorlds) -> None:
    world, _ = await worlds.proven()
    task = await branch_with(
        world,
        "DO $$ BEGIN IF EXISTS (SELECT FROM users) THEN CREATE TABLE sometimes (); END IF; END $$;",
    )
    with pytest.raises(Failure, match="do not make staging's schema") as caught:
        await migrate.run(world.job("migrate"), task, world.tools)
    assert "only in staging: table public.sometimes" in caught.value.outcome.findings[0].detail


async def test_migrations_that_do_not_make_the_schema_are_refused_with_what_they_lack(
    worlds: SavedWorlds,
) -> None:
    world, _ = await worlds.proven()
    task = await branch_with(world, CONTRACT, UPGRADED.replace("  status ", "  nick   String?\n  status "))
    with pytest.raises(Failure, match="do not make the schema") as caught:
        await migrate.run(world.job("migrate"), task, world.tools)
    assert 'ALTER TABLE "users" ADD COLUMN     "nick" TEXT;' in caught.value.outcome.findings[0].detail


async def test_what_production_has_beside_its_schema_files_is_not_the_upgrades_to_mend(
    worlds: SavedWorlds,
) -> None:
    world, _ = await worlds.proven()
    # Production's files have always named an index that no migration makes.
    await world.commit("main", {SCHEMA_FILE: SCHEMA.replace("  @@map", INDEX).encode()}, "Wish for an index")
    task = await branch_with(world, CONTRACT, UPGRADED.replace("  @@map", INDEX, 1))
    assert len((await migrate.run(world.job("migrate"), task, world.tools)).migrations) == 2


async def test_an_upgrade_may_mend_a_part_of_what_production_lacks(worlds: SavedWorlds) -> None:
    world, _ = await worlds.proven(contract_down=False)
    wishes = INDEX.replace("  @@map", "  @@index([id, email])\n  @@map")
    await world.commit("main", {SCHEMA_FILE: SCHEMA.replace("  @@map", wishes).encode()}, "Two wishes")
    one = f"{CONTRACT}CREATE INDEX users_email_idx ON users (email);"
    task = await branch_with(world, one, UPGRADED.replace("  @@map", wishes, 1))
    assert len((await migrate.run(world.job("migrate"), task, world.tools)).migrations) == 2


async def test_files_that_prisma_refuses_are_the_upgrades_only_if_it_made_them_so(
    worlds: SavedWorlds,
) -> None:
    world, _ = await worlds.proven()
    odd = "model Odd {\n  id Int @id\n  to Nobody\n}\n"
    task = await branch_with(world, CONTRACT, UPGRADED + odd)
    with pytest.raises(Failure, match=r"main\.prisma:\d+: Type \"Nobody\" is neither"):
        await migrate.run(world.job("migrate"), task, world.tools)
    await world.commit("main", {SCHEMA_FILE: (SCHEMA + odd).encode()}, "It has always been odd")
    assert len((await migrate.run(world.job("migrate"), task, world.tools)).migrations) == 2


async def test_a_migration_of_nobody_is_refused(tmp_path: Path, new_database: NewDatabase) -> None:
    world = await make_world(tmp_path, new_database)
    await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    path = "prisma/migrations/20260401000000_mine/migration.sql"
    commit = await world.commit(BRANCH, {path: b"SELECT 1"}, "Mine")
    with pytest.raises(Failure, match="production cannot take") as caught:
        await migrate.run(world.job("migrate"), world.migrate_task(commit), world.tools)
    (found,) = caught.value.outcome.findings
    assert found.subject == "20260401000000_mine"
    assert "take it off the branch" in found.cure


async def test_a_push_to_the_branch_meanwhile_is_named(tmp_path: Path, new_database: NewDatabase) -> None:
    world = await make_world(tmp_path, new_database)
    await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    await world.commit(BRANCH, {"notes.txt": b"x"}, "A late idea")
    with pytest.raises(Failure, match="moved") as caught:
        await migrate.run(world.job("migrate"), world.migrate_task(world.base), world.tools)
    assert "A late idea" in caught.value.outcome.findings[0].detail


async def test_an_app_that_does_not_start_is_a_verdict(tmp_path: Path, new_database: NewDatabase) -> None:
    world = await make_world(tmp_path, new_database)
    await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    commit = await world.commit(BRANCH, {"broken": b"", SCHEMA_FILE: UPGRADED.encode()}, "Break it")
    with pytest.raises(Failure, match="it will not start") as caught:
        await migrate.run(world.job("migrate"), world.migrate_task(commit), world.tools)
    assert caught.value.outcome.findings[0].kind == "environment"
