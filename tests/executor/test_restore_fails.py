"""A restore that fails leaves production as it is and says which way leads on, and that way does."""

from dataclasses import replace

import pytest

from local.postgres import postgres_bin_folder
from services.executor.stages import roll_back
from shared.clients.database_urls import database_of, with_database
from shared.clients.secrets import Secrets
from shared.errors import Failure
from tests.executor.conftest import NewDatabase, SavedWorlds
from tests.executor.project_world import PEOPLE
from tests.support.scopes import project_secrets

GUARD = """
    CREATE SCHEMA guards; GRANT USAGE ON SCHEMA guards TO PUBLIC;
    CREATE FUNCTION guards.guard() RETURNS event_trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'nobody drops here'; END $$;
    CREATE EVENT TRIGGER guard ON sql_drop EXECUTE FUNCTION guards.guard();
"""


@pytest.fixture(autouse=True)
def postgres_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPGRADES_POSTGRES_BIN", str(postgres_bin_folder()))


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "nowhere"])
@pytest.mark.superuser
async def test_a_restore_that_fails_leaves_production_and_names_a_way_on(
    worlds: SavedWorlds, new_database: NewDatabase, beside: bool
) -> None:
    world, candidate, backup = await worlds.deployed(contract_down=False)
    role, server = database_of(world.production), await new_database()
    await world.execute(with_database(server, role), GUARD)
    if not beside:
        await world.execute(server, f'ALTER ROLE "{role}" NOCREATEDB')
    await world.execute(world.production, "INSERT INTO users VALUES (99, 'late@x.example', 'active')")
    task = world.roll_back_task(candidate, restore_backup=True, backup=backup)
    with pytest.raises(Failure, match="did not come back, and production's database is untouched") as caught:
        await roll_back.run(world.job("roll-back"), task, world.tools)
    first, second = caught.value.outcome.findings
    assert f"Database {role} is as it was before the restore, under its own name" in first.detail
    assert await world.value(world.production, "SELECT count(*) FROM users") == PEOPLE + 1
    if not beside:
        assert f"kept under {backup}" in second.detail
        assert "pg_restore as a superuser" in second.cure
        return
    assert second.cure.startswith(f"let production's secret name {second.subject} instead of {role}")
    restored = with_database(world.production, second.subject)
    secrets = project_secrets(restored, world.staging, str(world.folder / "hosting"))
    world.tools = replace(world.tools, secrets=Secrets(None, secrets))
    facts = await roll_back.run(world.job("roll-back"), task, world.tools)
    assert all(line.same for line in facts.proof)
    assert await world.value(restored, "SELECT count(*) FROM users") == PEOPLE
    # The old one stands as it stood, for whoever wants the rows that came after the backup.
    assert await world.value(world.production, "SELECT count(*) FROM users") == PEOPLE + 1
    await world.execute(server, f'DROP DATABASE "{second.subject}" WITH (FORCE)')
