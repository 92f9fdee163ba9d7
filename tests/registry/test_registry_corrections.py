"""Late migrations, mistakes of withdrawn Releases, and the same fault of many things."""

from collections.abc import AsyncIterator
from functools import partial

import pytest

from services.executor.clients.order_trial import difference_of
from shared.contracts.releases import WithdrawRelease
from shared.errors import Reject
from tests.registry.registry_world import LENA, Registry, files, running

FOLDER = "prisma/migrations"
INIT, SECOND = f"{FOLDER}/20250101000000_init/migration.sql", f"{FOLDER}/20250601000000_second/migration.sql"
LATE, OTHER = f"{FOLDER}/20250301000000_late/migration.sql", f"{FOLDER}/20250302000000_other/migration.sql"
VIEW = "create or replace view adults as select id from users where id > {};"


@pytest.fixture
async def trying(registry_url: str) -> AsyncIterator[Registry]:
    """A registry that has a server to try orders on."""
    async with running(registry_url, partial(difference_of, registry_url)) as world:
        yield world


async def refused(registry: Registry, contents: dict[str, str]) -> list[str]:
    with pytest.raises(Reject) as caught:
        await registry.publish(contents)
    return [each.reason for each in caught.value.refusals]


async def test_a_late_migration_is_published_where_late_makes_the_same_schema(trying: Registry) -> None:
    """Projects of two earlier Releases get it in two other orders than the package's own."""
    second = {SECOND: "alter table users add column b int;"}
    late = {LATE: "alter table users add column a int;", OTHER: "create table others (id int primary key);"}
    await trying.publish()
    await trying.publish(files("1.3.0", earlier=("1.2.4",), changed=second))
    event = await trying.publish(files("1.4.0", earlier=("1.3.0", "1.2.4"), changed=second | late))
    names = [migration.name for migration in event.release.migrations]
    assert names == sorted(names)
    assert len(names) == 4


@pytest.mark.parametrize(
    ("second", "late", "told"),
    [
        (VIEW.format(2), VIEW.format(1), "in that order they make another schema: "),
        ("alter table users add b int;", "create index on users (b);", "they cannot be tried in an empty"),
        (
            "create table if not exists made (id int);",
            "create table made (id int);",
            "in that order they fail",
        ),
    ],
    ids=["another view", "needs what comes later", "is needed by what comes later"],
)
async def test_a_late_migration_is_refused_in_one_sentence_where_its_order_counts(
    trying: Registry, second: str, late: str, told: str
) -> None:
    await trying.publish()
    await trying.publish(files("1.3.0", earlier=("1.2.4",), changed={SECOND: second}))
    (reason,) = await refused(
        trying, files("1.4.0", earlier=("1.3.0", "1.2.4"), changed={SECOND: second, LATE: late})
    )
    assert "stands before 20250601000000_second of 1.3.0" in reason
    assert told in reason


async def test_the_same_fault_of_fifty_things_is_one_refusal_with_fifty_names(registry: Registry) -> None:
    """Late, gone and changed migrations, dropped columns, headings, unknown Systems, types of defaults."""
    old = {f"{FOLDER}/20250102{number:06d}_m/migration.sql": "select 1;" for number in range(50)}
    keys = [f"key{number:02d}" for number in range(50)]
    config = "[config]\n" + "".join(f"{key} = 1\n" for key in keys)
    await registry.publish(files(manifest=config, changed=old))
    earlier = ("1.2.6", "1.2.5", "1.2.4")
    for number in (5, 6, 7):
        before = tuple(each for each in earlier if each < f"1.2.{number}")
        await registry.publish(files(f"1.2.{number}", manifest=config, changed=old, earlier=before))
    late = {f"{FOLDER}/20240101{number:06d}_m/migration.sql": "select 1;" for number in range(50)}
    drops = "".join(f"alter table users drop column c{number};\n" for number in range(50))
    changed = dict.fromkeys(list(old)[:25], "select 2;") | dict.fromkeys(list(old)[25:])
    manifest = (
        config.replace(" = 1", " = 'x'")
        + "[requires]\n"
        + "".join(f'system{number} = ">=1"\n' for number in range(50))
    )
    with pytest.raises(Reject) as caught:
        await registry.publish(files("1.3.0", manifest=manifest, changed=late | changed | {SECOND: drops}))
    told = caught.value.refusals
    assert len(told) == 7
    for words, names in (
        ("stands before", [path.split("/")[2] for path in late]),
        ("is gone", [path.split("/")[2] for path in list(old)[25:]]),
        ("never changes", [path.split("/")[2] for path in list(old)[:25]]),
        ("is destructive", [f"line {number}" for number in range(1, 51)]),
        ("lost the heading", ["1.2.4", "1.2.5", "1.2.6", "1.2.7"]),
        ("it requires", [f"system{number}" for number in range(50)]),
        ("the default of", keys),
    ):
        (reason,) = [each.reason for each in told if words in each.reason]
        assert [name for name in names if name not in reason] == []


async def test_a_withdrawn_release_that_a_project_pins_binds_still(registry: Registry) -> None:
    await registry.publish()
    wrong = {SECOND: "alter table users add column amount decimal not null;"}
    await registry.publish(files("1.3.0", earlier=("1.2.4",), changed=wrong))
    await registry.register(pins={"auth-system": "1.3.0"})
    await registry.ask(WithdrawRelease(actor=LENA, system="auth-system", version="1.3.0", reason="Rows."))
    right = {SECOND: "alter table users add column amount decimal;"}
    (reason,) = await refused(registry, files("1.3.1", earlier=("1.3.0", "1.2.4"), changed=right))
    assert "never changes" in reason


async def test_a_withdrawn_release_that_nobody_pins_binds_nobody(registry: Registry) -> None:
    """Its migration is repaired under its name, or replaced, and the type of its default."""
    await registry.publish()
    wrong = {SECOND: "alter table users add column amount decimal not null;"}
    await registry.publish(files("1.3.0", earlier=("1.2.4",), manifest="[config]\ndays = '1'", changed=wrong))
    await registry.register(pins={"auth-system": "1.2.4"})
    await registry.ask(WithdrawRelease(actor=LENA, system="auth-system", version="1.3.0", reason="Rows."))
    repaired = {SECOND: "alter table users add column amount decimal;"}
    event = await registry.publish(
        files("1.3.1", earlier=("1.3.0", "1.2.4"), manifest="[config]\ndays = 1", changed=repaired)
    )
    assert event.change == "minor"
    await registry.ask(WithdrawRelease(actor=LENA, system="auth-system", version="1.3.1", reason="Again."))
    await registry.publish(
        files("1.4.0", earlier=("1.3.1", "1.3.0", "1.2.4"), changed={LATE: repaired[SECOND]})
    )
