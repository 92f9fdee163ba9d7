"""Orders of migrations are tried beside the gate, on a server that may lack something."""

from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import text

from local.ports import free_port
from services.executor.clients.order_trial import difference_of
from services.executor.clients.postgres import session
from services.registry.domain.gate import Library
from services.registry.order_trials import Ground, grounds_of
from shared.contracts.refusals import Refusal
from shared.contracts.releases import PublishRelease
from shared.errors import Reject
from tests.registry.registry_world import LENA, MIRA, Registry, files, pack, running

FOLDER = "prisma/migrations"
SECOND = {f"{FOLDER}/20250601000000_second/migration.sql": "alter table users add column b int;"}
LATE = {f"{FOLDER}/20250301000000_late/migration.sql": "alter table users add column a int;"}
SETTING = "UPGRADES_SCRATCH_DATABASE_URL"


async def publish_late(registry: Registry) -> Refusal:
    """Why a package with a late migration is refused."""
    await registry.publish()
    await registry.publish(files("1.3.0", earlier=("1.2.4",), changed=SECOND))
    with pytest.raises(Reject) as caught:
        await registry.publish(files("1.4.0", earlier=("1.3.0", "1.2.4"), changed=SECOND | LATE))
    (refusal,) = caught.value.refusals
    return refusal


async def test_another_system_is_published_while_orders_are_tried(registry_url: str) -> None:
    tried: list[Sequence[Sequence[tuple[str, str]]]] = []
    worlds: list[Registry] = []
    mail = files(name="mail-system", changed={"prisma/schema.prisma": "model Mail {\n  id Int @id\n}\n"})

    async def slow(orders: Sequence[Sequence[tuple[str, str]]]) -> str | None:
        tried.append(orders)
        if len(tried) == 1:
            # Under the gate's lock this would wait for ever.
            await worlds[0].publish(mail, system="mail-system")
        return None

    async with running(registry_url, slow) as world:
        worlds.append(world)
        await world.publish()
        await world.publish(files("1.3.0", earlier=("1.2.4",), changed=SECOND))
        both = files("1.4.0", earlier=("1.3.0", "1.2.4"), changed=SECOND | LATE)
        assert (await world.publish(both)).release.version == "1.4.0"
        assert len(tried) == 1


async def test_a_partner_has_nothing_run_on_the_librarys_server(registry_url: str) -> None:
    """Whoever may ask for a check could else run scripts there, and hold up those who publish."""
    tried: list[Sequence[Sequence[tuple[str, str]]]] = []

    async def note(orders: Sequence[Sequence[tuple[str, str]]]) -> str | None:
        tried.append(orders)
        return None

    async with running(registry_url, note) as world:
        await world.publish()
        await world.publish(files("1.3.0", earlier=("1.2.4",), changed=SECOND))
        late = files("1.4.0", earlier=("1.3.0", "1.2.4"), changed=SECOND | LATE)
        (refusal,) = (await world.check(late, MIRA))["refusals"]
        assert "20250301000000_late" in f"{refusal['field']} {refusal['reason']}"
        assert tried == []
        assert (await world.check(late))["refusals"] == []
        assert len(tried) == 1


async def test_what_a_system_requires_is_there_when_its_orders_are_tried(registry_url: str) -> None:
    def mail(version: str, *migrations: str, earlier: tuple[str, ...] = ()) -> dict[str, str]:
        changed: dict[str, str | None] = {
            "prisma/schema.prisma": "model Mail {\n  id Int @id\n}\n",
            f"{FOLDER}/20250101000000_init/migration.sql": "create table mails (id int references users);",
        }
        for each in migrations:
            changed[f"{FOLDER}/{each}/migration.sql"] = (
                f"alter table mails add m{each[:8]} int references users;"
            )
        manifest = '[requires]\nauth-system = ">=1"\n'
        return files(version, name="mail-system", manifest=manifest, earlier=earlier, changed=changed)

    async with running(registry_url, partial(difference_of, registry_url)) as world:
        await world.publish()
        await world.publish(mail("1.0.0"), system="mail-system")
        await world.publish(mail("1.1.0", "20250601_second", earlier=("1.0.0",)), system="mail-system")
        last = mail("1.2.0", "20250601_second", "20250301_late", earlier=("1.1.0", "1.0.0"))
        assert len((await world.publish(last, system="mail-system")).release.migrations) == 3


async def test_orders_are_tried_beside_older_releases_that_satisfy(registry_url: str) -> None:
    """Catches an order that is proven beside the newest Release alone, and fails where an older one is."""
    folder = f"{FOLDER}/20250601000000_code/migration.sql"
    code = {folder: "alter table users add column code int unique;"}

    def mail(version: str, required: str, *earlier: str, late: bool) -> dict[str, str]:
        scripts = {
            "20250101000000_init": "create table mails (id int primary key, code int);",
            "20250701000000_second": "alter table mails add column b int;",
        }
        if late:
            scripts["20250301000000_late"] = (
                "alter table mails add foreign key (code) references users (code);"
            )
        changed: dict[str, str | None] = {
            f"{FOLDER}/{name}/migration.sql": sql for name, sql in scripts.items()
        }
        changed["prisma/schema.prisma"] = "model Mail {\n  id Int @id\n}\n"
        manifest = f'[requires]\nauth-system = "{required}"\n'
        return files(version, name="mail-system", manifest=manifest, earlier=earlier, changed=changed)

    async with running(registry_url, partial(difference_of, registry_url)) as world:
        await world.publish()
        await world.publish(files("1.3.0", earlier=("1.2.4",), changed=code))
        await world.publish(mail("1.0.0", ">=1.2.4", late=False), system="mail-system")
        with pytest.raises(Reject) as caught:
            await world.publish(mail("1.1.0", ">=1.2.4", "1.0.0", late=True), system="mail-system")
        (refusal,) = caught.value.refusals
        assert "beside auth-system 1.2.4, they cannot be tried" in refusal.reason
        assert refusal.cure.startswith("take auth-system 1.2.4 out of [requires], or ")
        done = await world.publish(mail("1.1.0", ">=1.3.0", "1.0.0", late=True), system="mail-system")
        assert done.release.version == "1.1.0"


def test_the_releases_beside_which_orders_are_tried_are_bounded_and_told() -> None:
    """Catches a trial for each of a System's hundred Releases, and one that leaves some out in silence."""
    versions = {f"1.{minor}.0": f"digest {minor}" for minor in range(9)}
    library = Library(
        packages={"a": "digest 8", "b": "other"}, offered={"a": versions, "b": {"2.0.0": "other"}}
    )
    grounds, left_out = grounds_of({"a": ">=1.1", "b": ">=1", "unpublished": "*"}, library)
    assert [each.name for each in grounds] == ["the newest Releases", *(f"a 1.{n}.0" for n in (1, 5, 6, 7))]
    assert grounds[0].packages == {"a": "digest 8", "b": "other"}
    assert grounds[1].packages == {"a": "digest 1", "b": "other"}
    assert left_out == ("a 1.4.0", "a 1.3.0", "a 1.2.0")
    assert grounds_of({"a": ">=3"}, library) == ((Ground("the newest Releases", {"a": "digest 8"}),), ())


@pytest.mark.parametrize(
    ("change", "cure"),
    [
        ("ALTER ROLE {role} NOCREATEDB", "ALTER ROLE … CREATEDB"),
        ("ALTER ROLE {role} PASSWORD 'another'", "correct the role, its password"),
        ("ALTER ROLE {role} NOLOGIN", "correct the role, its password"),
    ],
    ids=["no right", "another password", "no login"],
)
async def test_a_server_that_is_not_fit_is_a_refusal_that_names_the_setting(
    registry_url: str, change: str, cure: str
) -> None:
    async with session(registry_url) as connection:
        await connection.execute("DROP ROLE IF EXISTS orders; CREATE ROLE orders LOGIN CREATEDB PASSWORD 'x'")
        await connection.execute(change.format(role="orders"))
    parts = urlsplit(registry_url)
    plain = urlunsplit(parts._replace(netloc=f"orders:x@{parts.hostname}:{parts.port}", path="/postgres"))
    async with running(registry_url, partial(difference_of, plain)) as world:
        refusal = await publish_late(world)
    assert SETTING in refusal.reason
    assert refusal.cure.startswith(f"correct {SETTING} ({cure}")
    assert refusal.cure.endswith("or give it a later timestamp")


async def test_a_database_that_nobody_has_made_stands_for_its_server(registry_url: str) -> None:
    """The setting names a server: the name of a database that is not there (3D000) refuses nobody."""
    nowhere = urlunsplit(urlsplit(registry_url)._replace(path="/nobody_has_made_it"))
    order = [("20250101_a", "CREATE TABLE a (id int)"), ("20250102_b", "CREATE TABLE b (id int)")]
    assert await difference_of(nowhere, [order, order[::-1]]) is None


async def test_a_server_that_stays_away_ends_in_a_refusal(registry_url: str) -> None:
    nowhere = f"postgresql://a:b@127.0.0.1:{free_port()}/postgres"
    async with running(registry_url, partial(difference_of, nowhere)) as world:
        await world.publish()
        await world.publish(files("1.3.0", earlier=("1.2.4",), changed=SECOND))
        both = files("1.4.0", earlier=("1.3.0", "1.2.4"), changed=SECOND | LATE)
        digest = await world.content.put(pack(both))
        command = PublishRelease(actor=LENA, system="auth-system", version="1.4.0", package=digest)
        await world.ask(command, "late")
        for _ in range(5):
            assert await world.gate.verdict(f"/http/{LENA.id}", "late", 0) is None
            assert await world.gate.check_next()
            async with world.database.transaction() as tx:
                await tx.session.execute(
                    text("update package_checks set due_at = now() where state = 'queued'")
                )
        verdict = await world.gate.verdict(f"/http/{LENA.id}", "late", 0)
    assert verdict is not None
    (refusal,) = verdict.refusals
    assert refusal.field == SETTING
    assert "cannot reach the database" in refusal.reason
    assert "later timestamp" in refusal.cure
