"""`upgradepath doctor`: a machine and servers that are well, and the cure of each thing that is not."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from cli.doctor import LEFT
from cli.package_doctor import packages_and_backups
from local.broker import EmbeddedBroker
from local.ports import free_port
from shared.clock import utc_now
from shared.identity.keys import SigningKey
from shared.messaging.topic_admin import create_topics
from shared.prisma.archives import ENGINE, PARSER, module_bytes
from shared.settings import KafkaSettings
from shared.signing.library_keys import LibraryKeys, TrustedKey, Validity
from tests.cli.conftest import Type
from tests.cli.small_services import Services
from tests.conftest import PostgresServer
from tests.support.keys import JWKS

Diagnoses = dict[str, dict[str, Any]]
Look = Callable[..., tuple[int, Diagnoses]]
PASSWORD = "geheim-4711"


@pytest.fixture
def look(upgradepath: Type) -> Look:
    """Ask the doctor with these variables and no others; the exit code, and what was found by subject."""

    def ask(*options: str, **variables: str) -> tuple[int, Diagnoses]:
        outer = dict.fromkeys((name for name in os.environ if name.startswith("UPGRADES_")), None)
        result = upgradepath("doctor", "--json", *options, **{**outer, **variables})
        assert PASSWORD not in result.output
        found = json.loads(result.stdout)
        assert all(set(each) == {"subject", "found", "cure"} for each in found)
        return result.exit_code, {each["subject"]: each for each in found}

    return ask


@pytest.fixture
async def broker() -> AsyncIterator[str]:
    """The bootstrap servers of a broker with every topic."""
    async with EmbeddedBroker() as running:
        await create_topics(KafkaSettings(bootstrap_servers=running.bootstrap_servers, embedded=True))
        yield running.bootstrap_servers


@pytest.fixture
async def empty_broker() -> AsyncIterator[str]:
    async with EmbeddedBroker() as running:
        yield running.bootstrap_servers


@pytest.fixture
def right(broker: str, postgres: PostgresServer, tmp_path: Path) -> dict[str, str]:
    """The variables of a set-up that is well."""
    database = f"doctor_{uuid.uuid4().hex}"
    postgres.create_database(database)
    (tmp_path / "content").mkdir()
    return {
        "UPGRADES_KAFKA_BOOTSTRAP_SERVERS": broker,
        "UPGRADES_PLANNER_DATABASE_URL": postgres.url(database),
        "UPGRADES_CONTENT_URL": (tmp_path / "content").as_uri(),
        "UPGRADES_TOKEN_PUBLIC_KEYS": JWKS,
    }


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


def wrong(diagnoses: Diagnoses) -> dict[str, str]:
    """The cure of each thing that is not well."""
    return {subject: found["cure"] for subject, found in diagnoses.items() if found["cure"]}


@pytest.fixture(scope="module", autouse=True)
def prisma() -> None:
    """Prisma's packages are in the cache."""
    for archive in (PARSER, ENGINE):
        module_bytes(archive)


def test_this_machine_is_well(look: Look, right: dict[str, str]) -> None:
    code, found = look("--machine", **right)
    assert (code, wrong(found)) == (0, {})
    assert list(found) == ["Python", "git", "embedded broker", "embedded PostgreSQL", "Prisma's engine"]


def test_a_cache_without_prisma_is_not_well(look: Look, tmp_path: Path) -> None:
    code, found = look("--machine", UPGRADES_CACHE=str(tmp_path))
    assert code == 1
    assert list(wrong(found)) == ["Prisma's engine"]
    assert str(tmp_path) in found["Prisma's engine"]["found"]


def test_without_variables_there_are_no_servers_to_look_at(look: Look) -> None:
    code, found = look()
    assert code == 0
    assert "dev brings its own" in found["servers"]["found"]


def test_a_right_set_up_is_well(look: Look, right: dict[str, str]) -> None:
    code, found = look(**right)
    assert (code, wrong(found)) == (0, {})
    assert {"broker", "database of planner", "content store", "token keys"} < set(found)


@pytest.mark.parametrize(
    ("variable", "value", "subject"),
    [
        ("UPGRADES_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:{port}", "broker"),
        ("UPGRADES_KAFKA_SESSION_TIMEOUT_MS", "soon", "broker"),
        (
            "UPGRADES_PLANNER_DATABASE_URL",
            f"postgresql://a:{PASSWORD}@127.0.0.1:{{port}}/x",
            "database of planner",
        ),
        ("UPGRADES_PLANNER_DATABASE_URL", f"mysql://a:{PASSWORD}@127.0.0.1/x", "database of planner"),
        (
            "UPGRADES_PLANNER_DATABASE_URL",
            f"postgresql://a:{PASSWORD}@127.0.0.1:many/x",
            "database of planner",
        ),
        ("UPGRADES_NOTIFIER_DATABASE_URL", "", "database of notifier"),
        ("UPGRADES_CONTENT_URL", "nonsense", "content store"),
        ("UPGRADES_CONTENT_URL", "", "content store"),
        ("UPGRADES_TOKEN_PUBLIC_KEYS", "nowhere.jwks.json", "token keys"),
        ("UPGRADES_TOKEN_PUBLIC_KEYS", "", "token keys"),
        ("UPGRADES_TOKEN_KEY", PASSWORD, "token key"),
    ],
)
def test_one_wrong_variable_is_found_and_named(
    look: Look, right: dict[str, str], variable: str, value: str, subject: str
) -> None:
    code, found = look(**{**right, variable: value.format(port=free_port())})
    assert code == 1
    assert set(wrong(found)) == {subject}
    family = variable if "KAFKA" not in variable else "UPGRADES_KAFKA_"
    assert family in wrong(found)[subject]


def test_a_variable_that_is_missing_is_missed(look: Look, right: dict[str, str]) -> None:
    code, found = look(UPGRADES_KAFKA_BOOTSTRAP_SERVERS=right["UPGRADES_KAFKA_BOOTSTRAP_SERVERS"])
    assert code == 1
    assert set(wrong(found)) == {"databases", "content store", "token keys"}


def test_topics_that_are_not_made_yet(look: Look, right: dict[str, str], empty_broker: str) -> None:
    code, found = look(**{**right, "UPGRADES_KAFKA_BOOTSTRAP_SERVERS": empty_broker})
    assert code == 1
    assert set(wrong(found).values()) == {"upgradepath topics create"}
    assert "topic upgrades.run.events.v1" in found


@pytest.mark.parametrize(("version", "well"), [("2.37.9", False), ("2.38.0", True), ("10.0.0", True)])
def test_an_old_git_is_not_enough(look: Look, tmp_path: Path, version: str, well: bool) -> None:
    git = tmp_path / "git"
    git.write_text(f"#!/bin/sh\necho git version {version}\n")
    git.chmod(0o755)
    code, found = look("--machine", PATH=str(tmp_path))
    assert found["git"]["found"] == version
    assert (code == 0, "git" not in wrong(found)) == (well, well)


def test_no_git_at_all(look: Look, tmp_path: Path) -> None:
    code, found = look("--machine", PATH=str(tmp_path))
    assert code == 1
    assert "install git" in wrong(found)["git"]


def test_the_table_says_well_or_wrong(upgradepath: Type, right: dict[str, str]) -> None:
    result = upgradepath("doctor", **{**right, "UPGRADES_TOKEN_PUBLIC_KEYS": "short"})
    assert result.exit_code == 1
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert lines[0] == ["", "looked at", "found", "cure"]
    verdicts = {line[1]: line[0] for line in lines[1:]}
    assert verdicts["broker"] == "well"
    assert verdicts["token keys"] == "wrong"


def test_a_server_for_trials_must_let_its_role_make_databases(
    look: Look, right: dict[str, str], postgres: PostgresServer
) -> None:
    """Else the registry refuses every late migration, and an operator learns it from a publisher."""
    url = right["UPGRADES_PLANNER_DATABASE_URL"]
    registry = {**right, "UPGRADES_REGISTRY_DATABASE_URL": url, "UPGRADES_ALLOW_UNSIGNED": "true"}
    code, found = look(**registry)
    assert (code, wrong(found)) == (0, {})
    assert "is not set" in found["server for trials"]["found"]
    code, found = look(**registry, UPGRADES_SCRATCH_DATABASE_URL=url)
    assert (code, found["server for trials"]["found"]) == (0, "answers, and its role may make databases")
    plain = f"of_trials_{uuid.uuid4().hex[:8]}"
    asyncio.run(execute(postgres.url(), f"CREATE ROLE {plain} LOGIN PASSWORD '{PASSWORD}'"))
    parts = urlsplit(postgres.url())
    named = urlunsplit(parts._replace(netloc=f"{plain}:{PASSWORD}@{parts.hostname}:{parts.port}"))
    code, found = look(**registry, UPGRADES_SCRATCH_DATABASE_URL=named)
    assert (code, set(wrong(found))) == (1, {"server for trials"})
    assert "CREATEDB" in found["server for trials"]["found"]
    away = "postgresql://u@db.example/x?sslmode=prefer"
    code, found = look(**registry, UPGRADES_SCRATCH_DATABASE_URL=away)
    assert (code, "unencrypted" in found["server for trials"]["found"]) == (1, True)
    asyncio.run(execute(postgres.url(), f"DROP ROLE {plain}"))


def _trusted(**validity: Any) -> str:
    public = SigningKey.new("library-2026").private.public_key()
    key = TrustedKey(public, Validity(purpose="library", **validity))
    return LibraryKeys({"library-2026": key}).text()


LONG_AGO, SOON = datetime(2020, 1, 1, tzinfo=UTC), utc_now() + timedelta(days=3)


@pytest.mark.parametrize(
    ("given", "well", "said"),
    [
        ({}, False, "UPGRADES_LIBRARY_KEYS is not set"),
        ({"UPGRADES_ALLOW_UNSIGNED": "a" * 64}, False, "names 1 packages"),
        ({"UPGRADES_ALLOW_UNSIGNED": "true"}, True, "takes every package without a signature"),
        ({"UPGRADES_ALLOW_UNSIGNED": "perhaps"}, False, "is none of them"),
        ({"UPGRADES_LIBRARY_KEYS": _trusted()}, True, "library-2026 is good"),
        ({"UPGRADES_LIBRARY_KEYS": _trusted(not_after=SOON)}, True, "is good, and only until"),
        ({"UPGRADES_LIBRARY_KEYS": _trusted(not_after=LONG_AGO)}, False, "was good only until 2020"),
        ({"UPGRADES_LIBRARY_KEYS": _trusted(revoked_at=LONG_AGO, reason="stolen")}, False, "(stolen)"),
        ({"UPGRADES_LIBRARY_KEYS": '{"keys": []}'}, False, "no key of the Library"),
        ({"UPGRADES_LIBRARY_KEYS": "/nowhere"}, False, "No such file"),
    ],
)
def test_a_registry_that_would_take_no_package_is_said(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], well: bool, said: str
) -> None:
    """Else the Library learns at its next publish that keys are missing, ended or revoked."""
    for name in ("UPGRADES_LIBRARY_KEYS", "UPGRADES_ALLOW_UNSIGNED", "UPGRADES_EXECUTOR_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"UPGRADES_REGISTRY_DATABASE_URL": "postgresql:///x", **given}.items():
        monkeypatch.setenv(name, value)
    [(subject, found, cure)] = packages_and_backups()
    assert (subject, cure is None) == ("keys of packages", well)
    assert said in found


def test_backups_beside_packages_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default place shares the content store's credential."""
    monkeypatch.setenv("UPGRADES_EXECUTOR_DATABASE_URL", "postgresql:///x")
    monkeypatch.setenv("UPGRADES_CONTENT_URL", "s3://packages/all/")
    for place, well in ((None, False), ("s3://packages/all/b", False), ("s3://packages/all-backups", True)):
        if place is not None:
            monkeypatch.setenv("UPGRADES_BACKUP_STORE", place)
        _, (subject, found, cure) = packages_and_backups()
        assert (subject, cure is None) == ("place of backups", well), found


@pytest.mark.parametrize(
    ("left", "code", "said"),
    [
        (0, 0, "0 left behind, 2 Projects' servers not asked"),
        (1, 1, "1 left behind"),
        (None, 0, "no executor"),
    ],
)
def test_databases_that_trials_left_are_said(
    look: Look, services: Services, left: int | None, code: int, said: str
) -> None:
    lines = f'{LEFT}{{state="left"}} {left}\n{LEFT}{{state="not asked"}} 2\n'
    services.documents["metrics"] = "" if left is None else f"# TYPE {LEFT} gauge\n{lines}"
    given, found = look()
    assert given == code
    assert said in found["databases of trials"]["found"]
    assert (found["databases of trials"]["cure"] is not None) == (code == 1)
