"""Migrations make exactly the fragment, tried where a server is configured; and advice for publishers."""

from collections.abc import AsyncIterator
from functools import partial

import pytest

from services.executor.clients.fragment_trial import trial_of
from services.registry.domain.advice import advice_beside, advice_on
from services.registry.domain.gate import Library, judge
from services.registry.domain.history import package_migrations
from shared.clock import utc_now
from shared.contracts.releases import Release
from shared.errors import Reject
from shared.packages.package import read_package
from tests.registry.registry_world import MIRA, Registry, files, pack, running

INIT = "prisma/migrations/20250101000000_init/migration.sql"
NEXT = "prisma/migrations/20250601000000_next/migration.sql"
SCHEMA = "prisma/schema.prisma"
TABLE = 'CREATE TABLE "User" ("id" INTEGER NOT NULL, CONSTRAINT "User_pkey" PRIMARY KEY ("id"));'
USER = "model User {\n  id Int @id\n}\n"


@pytest.fixture
async def proving(registry_url: str) -> AsyncIterator[Registry]:
    """A registry with a server for trials."""
    async with running(registry_url, trial_of=partial(trial_of, registry_url)) as world:
        yield world


async def reasons(registry: Registry, contents: dict[str, str]) -> list[str]:
    with pytest.raises(Reject) as caught:
        await registry.publish(contents)
    assert all(each.cure and each.field == SCHEMA for each in caught.value.refusals)
    return [each.reason for each in caught.value.refusals]


async def test_migrations_that_do_not_make_the_fragment_are_refused_with_the_rest(proving: Registry) -> None:
    """Less, otherwise, more, and not at all; each alone, then the right one, then one on top of another."""
    for sql, schema, told in (
        (TABLE, USER + "model Line {\n  id Int @id\n}\n", 'CREATE TABLE "Line"'),
        (TABLE.replace("INTEGER", "BIGINT"), USER, 'ALTER TABLE "User"'),
        (TABLE + 'CREATE TABLE "Rest" (id int);', USER, 'DROP TABLE "Rest"'),
        (TABLE + TABLE, USER, "they fail in an empty database"),
    ):
        (reason,) = await reasons(proving, files(changed={INIT: sql, SCHEMA: schema}))
        assert told in reason
        assert "20250101000000_init" in reason or "fail" not in told
    await proving.publish(files(changed={INIT: TABLE, SCHEMA: USER}))
    # A column that may be null in the fragment alone, in a patch.
    looser = USER.replace("}", "  note String?\n}")
    patch = files("1.2.5", earlier=("1.2.4",), changed={INIT: TABLE, SCHEMA: looser})
    (reason,) = await reasons(proving, patch)
    assert 'ADD COLUMN "note" TEXT' in reason
    # Another System's table is there before this one's migrations run.
    quote = (
        'CREATE TABLE "Quote" ("id" INTEGER NOT NULL, "user" INTEGER NOT NULL,'
        ' CONSTRAINT "Quote_pkey" PRIMARY KEY ("id"));'
        'ALTER TABLE "Quote" ADD CONSTRAINT "Quote_user_fkey" FOREIGN KEY ("user") REFERENCES "User"("id")'
        " ON DELETE RESTRICT ON UPDATE CASCADE;"
    )
    fragment = (
        "model Quote {\n  id Int @id\n  user Int\n"
        "  by User @relation(fields: [user], references: [id])\n}\n"
        "/// @extends auth-system\nmodel User {\n  quotes Quote[]\n}\n"
    )
    event = await proving.publish(
        files("0.1.0", name="quote-engine", changed={INIT: quote, SCHEMA: fragment}), system="quote-engine"
    )
    assert event.release.version == "0.1.0"


async def test_what_no_server_here_can_tell_is_said_and_stops_nothing(proving: Registry) -> None:
    lacking = 'ALTER TABLE "OfTheProject" ADD COLUMN x INT;'
    contents = files(changed={INIT: TABLE + lacking, SCHEMA: USER})
    answer = (await proving.check(contents))["advice"]
    assert [each["reason"].partition(":")[0] for each in answer] == [
        "nobody has proven that the migrations make the schema fragment"
    ]
    assert "OfTheProject" in answer[0]["reason"]
    # A partner may ask too, and has nothing run.
    (advice,) = (await proving.check(contents, MIRA))["advice"]
    assert "the Library's own checks alone are tried" in advice["reason"]
    await proving.publish(contents)


async def test_without_a_server_the_check_says_that_a_run_will_prove_it(registry: Registry) -> None:
    (advice,) = (await registry.check(files()))["advice"]
    assert "UPGRADES_SCRATCH_DATABASE_URL" in advice["reason"]
    assert "migrate stage" in advice["cure"]


def test_columns_that_will_stop_projects_are_named_to_their_publisher() -> None:
    fragment = (
        "model User {\n  id String @id @db.Uuid\n  /// @mask email\n  mail String\n  note String?\n"
        "  tags String[]\n  data Json\n  born DateTime\n  role Role\n  of User? @relation(fields: [x])\n}\n"
        "enum Role {\n  A\n}\n"
    )
    sql = (
        "ALTER TABLE users ADD COLUMN a INT NOT NULL, ADD COLUMN b INT NOT NULL DEFAULT 1;\n"
        "ALTER TABLE users ADD COLUMN c SERIAL NOT NULL;\n"
        "CREATE TABLE made (id INT);\nALTER TABLE made ADD COLUMN d INT NOT NULL;\n"
    )
    package = read_package(pack(files(changed={SCHEMA: fragment, NEXT: sql})))
    judged = judge(package, Library())
    (masks,) = judged.advice
    assert masks.reason.endswith("stops there: User.note, User.tags, User.data, User.born, User.role")
    before = Release(
        system="auth-system",
        version="1.2.3",
        package="0" * 64,
        summary="Before",
        migrations=package_migrations(read_package(pack(files()))),
        published_at=utc_now(),
        published_by="lena",
    )
    reason = [each.reason for each in advice_on(package, before)][1]
    assert reason.endswith("has rows: users.a (20250601000000_next line 1)")


def test_settings_that_go_and_constraints_that_nothing_satisfies_are_told() -> None:
    """Catches a release that no Project can adopt, or that takes a setting away without a word."""
    manifest = '[requires]\ntax-system = ">=2"\nship-system = ">=1,<2"\n[config]\nkept = 1\n'
    package = read_package(pack(files(manifest=manifest)))
    defaults = {"kept": "integer", "mail": "table", "mail.sender": "text"}
    offered = {"tax-system": frozenset({"1.0.0", "1.9.0"}), "ship-system": frozenset({"1.2.0"})}
    gone, unmet = advice_beside(package, defaults, offered)
    assert gone.reason.endswith("have set: mail.sender")
    assert unmet.reason.startswith("no published version of tax-system is >=2,")
    assert unmet.cure.endswith("the newest is 1.9.0")
    (withdrawn,) = advice_beside(
        package, {}, {**offered, "tax-system": frozenset({"2.0.0"}), "ship-system": frozenset()}
    )
    assert withdrawn.cure.endswith("each is withdrawn")
    told = read_package(pack(files(manifest='breaking = ["the sender is fixed"]\n')))
    assert list(advice_beside(told, defaults, {})) == []
