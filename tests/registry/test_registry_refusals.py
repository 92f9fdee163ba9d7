"""Every refusal names the field and the cure. A refused command has changed nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from shared.contracts.projects import RegisterProject
from shared.contracts.releases import WithdrawRelease
from shared.contracts.values import Actor, Command
from shared.contracts.version_maps import HoldVersionMap, RecordVersionMap, ReleaseVersionMap
from shared.errors import Reject
from tests.registry.registry_world import LENA, MIRA, SAM, Files, Registry, files, project

INIT = "prisma/migrations/20250101000000_init/migration.sql"
LATER = "prisma/migrations/20250601000000_later/migration.sql"
EARLIER = "prisma/migrations/20240101000000_earlier/migration.sql"
RUN, OTHER = "run-0123456789ab", "run-ba9876543210"
USER = "model User {\n  id Int @id\n}\n"
BOTH = {"auth-system": "1.2.4", "quote-engine": "2.0.0"}


@dataclass(frozen=True)
class Refused:
    """What one refusal must say: its kind and field, and words of its reason and cure."""

    kind: str
    field: str | None
    reason: str
    cure: str


def is_told(refused: Refused, rejection: Reject) -> bool:
    return any(
        (refused.kind, refused.field) == (one.kind, one.field)
        and refused.reason in one.reason
        and refused.cure in one.cure
        for one in rejection.refusals
    )


def next_minor(manifest: str = "", changed: Files | None = None) -> dict[str, str]:
    return files("1.3.0", earlier=("1.2.4",), manifest=manifest, changed=changed)


PACKAGES: dict[str, tuple[Mapping[str, str], Refused]] = {
    "another name": (
        files("1.3.0", name="oauth-system", earlier=("1.2.4",)),
        Refused("invalid", "system.toml: name", "the command says auth-system", "write auth-system into"),
    ),
    "a version that is lower": (
        files("1.1.0"),
        Refused("conflict", "system.toml: version", "lower than 1.2.4", "choose a version above 1.2.4"),
    ),
    "a version that differs in build metadata": (
        files("1.3.0+build5", earlier=("1.2.4",)),
        Refused("invalid", "system.toml: version", "build metadata", "leave out"),
    ),
    "a version that is no version": (
        files("1.3"),
        Refused("invalid", "system.toml: version", "", ""),
    ),
    "a break in a minor version": (
        next_minor('breaking = ["Sign-in moves."]'),
        Refused("invalid", "system.toml: breaking", "only a minor after 1.2.4", "publish it as 2.0.0"),
    ),
    "a break in a patch": (
        files("1.2.5", earlier=("1.2.4",), manifest='breaking = ["Sign-in moves."]'),
        Refused("invalid", "system.toml: breaking", "only a patch after 1.2.4", "publish it as 2.0.0"),
    ),
    "a major version without a reason": (
        files("2.0.0", earlier=("1.2.4",)),
        Refused("invalid", "system.toml: breaking", "says nowhere why", "explain it in MIGRATION.md"),
    ),
    "a patch with a migration": (
        files("1.2.5", earlier=("1.2.4",), changed={LATER: "select 1;"}),
        Refused("invalid", LATER.rsplit("/", 1)[0], "a patch after 1.2.4", "publish it as 1.3.0"),
    ),
    "an applied migration that changed": (
        next_minor(changed={INIT: "create table people (id int);"}),
        Refused("invalid", INIT.rsplit("/", 1)[0], "never changes", "restore it as it is in 1.2.4"),
    ),
    "an applied migration that is gone": (
        next_minor(changed={INIT: None, LATER: "select 1;"}),
        Refused("invalid", INIT.rsplit("/", 1)[0], "is gone", "restore it as it is in 1.2.4"),
    ),
    "a migration before those applied": (
        next_minor(changed={EARLIER: "select 1;"}),
        Refused("invalid", EARLIER.rsplit("/", 1)[0], "stands before", "give it a later timestamp"),
    ),
    "a migration that psql could run and PostgreSQL cannot": (
        next_minor(changed={LATER: "select 1;\n\\echo done"}),
        Refused("invalid", f"{LATER}:2", "is psql's", "leave it out"),
    ),
    "an index built concurrently beside something else": (
        next_minor(changed={LATER: "select 1; create index concurrently i on t (x)"}),
        Refused("invalid", f"{LATER}:1", "cannot run in a transaction", "a migration of its own"),
    ),
    "a migration that PostgreSQL cannot read": (
        next_minor(changed={LATER: "select 1;\n\\\\connect other"}),
        Refused("invalid", f"{LATER}:2", "a backslash command is psql's", "leave it out"),
    ),
    "a column that goes while old code uses it": (
        next_minor(changed={LATER: "alter table users\n  add x int,\n  drop column name;"}),
        Refused("invalid", LATER, "line 1 is destructive", "[migrations] contract"),
    ),
    "a table with another name while old code uses it": (
        next_minor(changed={LATER: "select 1;\nalter table users rename to people;"}),
        Refused("invalid", LATER, "line 2 is destructive", "runs after the activation"),
    ),
    "a contracting migration that is not there": (
        next_minor('[migrations]\ncontract = ["20250601000000_later"]'),
        Refused("invalid", "system.toml: migrations.contract", "no such migration", "name a folder of"),
    ),
    "a changelog that lost a version": (
        files("1.3.0"),
        Refused("invalid", "CHANGELOG.md", "lost the heading of 1.2.4", "add `## 1.2.4` again"),
    ),
    "a summary that is too long": (
        {**next_minor(), "system.toml": f'name = "auth-system"\nversion = "1.3.0"\nsummary = "{"x" * 201}"'},
        Refused("invalid", "system.toml: summary", "200 characters", ""),
    ),
    "a requirement that is no constraint": (
        next_minor('[requires]\nquote-engine = "about 2"'),
        Refused("invalid", "system.toml: requires.quote-engine", "no comparison", ""),
    ),
    "a requirement of an unknown System": (
        next_minor('[requires]\nmail-system = ">=1"'),
        Refused("not-found", "system.toml: requires.mail-system", "nothing is published", "publish mail-sys"),
    ),
    "a requirement of itself": (
        next_minor('[requires]\nauth-system = ">=1"'),
        Refused("invalid", "system.toml: requires", "does not require itself", "remove the line"),
    ),
    "a default that changes its type": (
        next_minor('[config]\nminutes = "30"'),
        Refused("invalid", "system.toml: config.minutes", "was of type integer", "take a new key"),
    ),
    "a nested default that changes its type": (
        next_minor("[config.mail]\nsender = 5"),
        Refused("invalid", "system.toml: config.mail.sender", "was of type text", "keep its type"),
    ),
    "a pattern that matches nothing": (
        next_minor('[files]\noverwrite = ["static/**"]'),
        Refused("invalid", "system.toml: files.overwrite", "matches no file", "correct the pattern"),
    ),
    "a pattern that would have to cross a folder": (
        next_minor('[files]\noverwrite = ["*.css"]', changed={"files/static/style.css": "a {}"}),
        Refused("invalid", "system.toml: files.overwrite", "*.css matches no file", "correct the pattern"),
    ),
    "a model of another System": (
        next_minor(changed={"prisma/schema.prisma": "model Quote {\n  id Int @id\n}\n"}),
        Refused("conflict", "prisma/schema.prisma", "defined by quote-engine", "`/// @extends quote-engine`"),
    ),
    "a fragment that is never closed": (
        next_minor(changed={"prisma/schema.prisma": "\nmodel A {\n  id Int @id\n"}),
        Refused("invalid", "prisma/schema.prisma", "line 2: model A is never closed", "close it"),
    ),
    "a fragment that Prisma refuses": (
        next_minor(changed={"prisma/schema.prisma": USER + "model A {\n  id Int @id\n  at DateTim\n}\n"}),
        Refused("invalid", "prisma/schema.prisma", 'line 6: Type "DateTim" is neither', "release check"),
    ),
    "a fragment that says a field of another System otherwise": (
        next_minor(
            changed={
                "prisma/schema.prisma": USER
                + "/// @extends quote-engine\nmodel Quote {\n  id BigInt @id\n}\n"
            }
        ),
        Refused("invalid", "prisma/schema.prisma", "line 6: Quote.id is said differently", "correct"),
    ),
    "a fragment that demands of another System's code what it cannot know": (
        next_minor(
            changed={
                "prisma/schema.prisma": USER + "/// @extends quote-engine\nmodel Quote {\n  tax Int\n}\n"
            }
        ),
        Refused("invalid", "prisma/schema.prisma", "line 6: Quote.tax is required", "correct"),
    ),
    "a fragment with a datasource": (
        next_minor(changed={"prisma/schema.prisma": 'datasource db {\n  provider = "postgresql"\n}\n'}),
        Refused("invalid", "prisma/schema.prisma", "datasource db is the Project's", "leave it out"),
    ),
    "a file that does not belong": (
        next_minor(changed={"setup.py": "pass"}),
        Refused("invalid", "setup.py", "no such file", "move it under files/"),
    ),
}


async def library(registry: Registry) -> None:
    """What the refused packages are held against."""
    config = '[config]\nminutes = 30\n[config.mail]\nsender = "a@b.example"'
    await registry.publish(files("1.2.4", manifest=config))
    other = files("2.0.0", name="quote-engine", manifest='[requires]\nauth-system = ">=1.3"')
    other["prisma/schema.prisma"] = "model Quote {\n  id Int @id\n}\n"
    await registry.publish(other, system="quote-engine")
    await registry.sent()


@pytest.mark.parametrize("fault", PACKAGES)
async def test_a_package_is_refused_with_field_and_cure(registry: Registry, fault: str) -> None:
    await library(registry)
    contents, refused = PACKAGES[fault]
    with pytest.raises(Reject) as rejected:
        await registry.publish(contents, version="1.3.0" if "is no version" in fault else None)
    assert is_told(refused, rejected.value), rejected.value.refusals
    assert all(refusal.cure for refusal in rejected.value.refusals)
    assert await registry.count("releases") == 2


async def test_all_that_is_wrong_is_said_at_once(registry: Registry) -> None:
    await library(registry)
    manifest = 'breaking = ["a"]\n[requires]\nmail-system = ">=1"'
    contents = files("1.2.5", manifest=manifest, changed={LATER: "select 1;"})
    with pytest.raises(Reject) as rejected:
        await registry.publish(contents)
    assert len({refusal.field for refusal in rejected.value.refusals}) == 4


async def test_what_is_published_is_not_replaced(registry: Registry) -> None:
    await library(registry)
    with pytest.raises(Reject) as rejected:
        await registry.publish(files("1.2.4", notes="Other bytes."))
    assert is_told(Refused("conflict", "package", "other bytes", "raise the version"), rejected.value)
    withdraw = WithdrawRelease(actor=LENA, system="quote-engine", version="2.0.0", reason="Too slow.")
    await registry.ask(withdraw)
    same = files("2.0.0", name="quote-engine", manifest='[requires]\nauth-system = ">=1.3"')
    same["prisma/schema.prisma"] = "model Quote {\n  id Int @id\n}\n"
    with pytest.raises(Reject) as rejected:
        await registry.publish(same, system="quote-engine")
    assert is_told(Refused("conflict", "version", "withdrawn: Too slow.", "a higher version"), rejected.value)


def environment_changed(name: str, **changed: str) -> dict[str, Any]:
    document = project().definition.model_dump(mode="json", by_alias=True)
    document["environments"][name] |= changed
    return document


def register(actor: Actor = MIRA, pins: dict[str, str] | None = None, **changed: Any) -> RegisterProject:
    given = project(**changed)
    return RegisterProject.model_construct(actor=actor, project=given, pins=pins or {"auth-system": "1.2.4"})


def hold(run: str = RUN, fence: int = 5, version: str = "1.2.4") -> HoldVersionMap:
    pins = {"auth-system": version}
    return HoldVersionMap(actor=SAM, project="acme-portal", run_id=run, fence=fence, expected_pins=pins)


def record(run: str = RUN, fence: int = 5, version: str = "1.3.0") -> RecordVersionMap:
    pins = {"auth-system": version}
    return RecordVersionMap(actor=SAM, project="acme-portal", run_id=run, fence=fence, pins=pins)


def let_go(run: str = RUN, fence: int = 5) -> ReleaseVersionMap:
    return ReleaseVersionMap(actor=SAM, project="acme-portal", run_id=run, fence=fence)


COMMANDS: dict[str, tuple[list[Command], Refused]] = {
    "register somebody else's Project": (
        [register(actor=MIRA.model_copy(update={"projects": ()}))],
        Refused("forbidden", "actor", "may not register acme-portal", "a maintainer of acme-portal"),
    ),
    "register as the library": (
        [register(actor=LENA)],
        Refused("forbidden", "actor", "may not register", "a maintainer of acme-portal"),
    ),
    "pin what is not published": (
        [register(pins={"auth-system": "1.2.3"})],
        Refused("not-found", "pins.auth-system", "1.2.3 is not published", "published are 1.2.4"),
    ),
    "pin an unknown System": (
        [register(pins={"oauth": "1.0.0"})],
        Refused("not-found", "pins.oauth", "nothing of oauth", "correct its name"),
    ),
    "pin what does not fit together": (
        [register(pins=BOTH)],
        Refused(
            "invalid", "pins.auth-system", "quote-engine 2.0.0 requires auth-system >=1.3", "that is >=1.3"
        ),
    ),
    "pin what lacks another": (
        [register(pins={"quote-engine": "2.0.0"})],
        Refused("invalid", "pins.auth-system", "which is not pinned", "pin auth-system >=1.3 too"),
    ),
    "a definition of another Project": (
        [register(definition=project("other-portal").definition)],
        Refused("invalid", "project.definition.id", "of other-portal", "register it as other-portal"),
    ),
    "an approver without a name": (
        [register(approvers=[" "])],
        Refused("invalid", "project.approvers", "able to approve", "at least one approver"),
    ),
    "no repository": (
        [register(repository=" ")],
        Refused("invalid", "project.repository", "blank", "git clone"),
    ),
    "staging on production's database": (
        [register(definition=environment_changed("staging", database="secret:acme-portal-production"))],
        Refused(
            "invalid", "project.definition.environments.staging.database", "production's database", "its own"
        ),
    ),
    "production on a Run's branch": (
        [register(definition=environment_changed("production", branch="upgradepath/main"))],
        Refused("invalid", "project.definition.environments.production.branch", "belong to Runs", "main"),
    ),
    "other pins in a registration": (
        [register(), register(pins={"auth-system": "1.3.0"})],
        Refused("conflict", "pins.auth-system", "by a Run only", "request a plan"),
    ),
    "one pin more in a registration": (
        [register(), register(pins=BOTH)],
        Refused("conflict", "pins.quote-engine", "by a Run only", "leave quote-engine out"),
    ),
    "withdraw what is not published": (
        [WithdrawRelease(actor=LENA, system="auth-system", version="9.0.0", reason="Never mind.")],
        Refused("not-found", "version", "9.0.0 is not published", "release list auth-system"),
    ),
    "hold the map of an unknown Project": (
        [hold()],
        Refused("not-found", "project", "not registered", "register the Project first"),
    ),
    "hold what another Run holds": (
        [register(), hold(), hold(OTHER, 6)],
        Refused("conflict", "run_id", f"held by {RUN}", "wait until"),
    ),
    "hold on other pins": (
        [register(), hold(version="1.2.3")],
        Refused("conflict", "expected_pins", "is 1.2.4 instead of 1.2.3", "request a new plan"),
    ),
    "hold with an old fence": (
        [register(), hold(), let_go(), hold(OTHER, 4)],
        Refused("conflict", "fence", "fence 5 has been seen", "a newer command"),
    ),
    "record what nobody holds": (
        [register(), record()],
        Refused("conflict", "run_id", "nobody does", "hold the map first"),
    ),
    "record what another Run holds": (
        [register(), hold(), record(OTHER, 6)],
        Refused("conflict", "run_id", f"held by {RUN}", "wait until"),
    ),
    "record with an old fence": (
        [register(), hold(), record(fence=4)],
        Refused("conflict", "fence", "fence 5 has been seen", "a newer command"),
    ),
    "record other pins a second time": (
        [register(), hold(), record(), record(version="1.4.0")],
        Refused("conflict", "run_id", "nobody does", "hold the map first"),
    ),
    "let go of what another Run holds": (
        [register(), hold(), let_go(OTHER, 6)],
        Refused("conflict", "run_id", f"held by {RUN}", "wait until"),
    ),
    "let go of what is recorded": (
        [register(), hold(), record(), let_go()],
        Refused("conflict", "run_id", "nobody does", "hold the map first"),
    ),
}


@pytest.mark.parametrize("fault", COMMANDS)
async def test_a_command_is_refused_with_field_and_cure(registry: Registry, fault: str) -> None:
    await library(registry)
    (*before, last), refused = COMMANDS[fault]
    for command in before:
        await registry.ask(command)
    await registry.sent()
    with pytest.raises(Reject) as rejected:
        await registry.ask(last)
    assert is_told(refused, rejected.value), rejected.value.refusals
    assert await registry.sent() == []


def test_the_refusals_are_distinct() -> None:
    told = [refused for _, refused in [*PACKAGES.values(), *COMMANDS.values()]]
    assert len({(one.field, one.reason) for one in told}) >= 40
