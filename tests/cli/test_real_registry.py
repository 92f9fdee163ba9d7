"""The same commands against the registry itself: what it answers is what they read."""

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI

from services.registry.app import build
from services.registry.settings import RegistrySettings
from shared.application import web_application
from shared.storage.migrations import migrate
from tests.cli.conftest import Type
from tests.cli.small_services import TOKENS, serve_app
from tests.conftest import PostgresServer
from tests.support.keys import PUBLIC_KEYS
from tests.support.proofs import key_settings
from tests.support.signing import LIBRARY_KEY, LIBRARY_KEYS

SYSTEMS = Path(__file__).parents[2] / "examples/systems"
PROJECT = Path(__file__).parents[2] / "examples/project"
REGISTRATION = ("--repository", "/srv/git/acme.git", "--approver", "mira@acme.example")


@pytest.fixture
def registry(postgres: PostgresServer, tmp_path: Path, world: Path) -> Iterator[None]:
    """The registry with its gate and without a broker; the dev world points to it."""
    database = f"cli_registry_{uuid.uuid4().hex}"
    postgres.create_database(database)
    url = postgres.url(database)
    migrate("registry", url)
    settings = RegistrySettings(
        content_url=(tmp_path / "content").as_uri(),
        token_public_keys=PUBLIC_KEYS,
        database_url=url,
        **key_settings("registry"),
        library_keys=LIBRARY_KEYS.text(),
        allow_local_repositories=True,
    )
    (tmp_path / "content").mkdir()

    @asynccontextmanager
    async def working(_: FastAPI) -> AsyncIterator[None]:
        for part in service.parts:
            await part.start()
        yield
        for part in service.parts:
            await part.stop()
        await service.database.close()

    key = tmp_path / "library.pem"
    key.write_text(LIBRARY_KEY.pem())
    announced = {"tokens": TOKENS, "library_key": str(key)}
    service = build(settings)
    app = web_application([service])
    app.router.lifespan_context = working
    with serve_app(app) as address:
        (world / "world.json").write_text(json.dumps(announced | {"url": address}))
        yield


@pytest.mark.usefixtures("registry")
def test_from_the_packages_to_the_version_map(upgradepath: Type) -> None:
    def type_well(*arguments: str) -> str:
        result = upgradepath(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    for package in (
        "notifications-system/0.3.2",
        "auth-system/1.2.4",
        "onboarding-system/0.5.4",
        "quote-engine/0.9.1",
    ):
        type_well("release", "publish", str(SYSTEMS / package))
    newest = str(SYSTEMS / "auth-system/1.3.0")
    assert "auth-system 1.3.0 (minor): the registry would publish it" in type_well("release", "check", newest)
    assert "published auth-system 1.3.0 (minor)" in type_well("release", "publish", newest)
    assert "published auth-system 1.3.0 (minor)" in type_well("release", "publish", newest)
    assert "auth-system\t1.3.0" in type_well("release", "list", "auth-system")
    assert "migration notes" in type_well("release", "show", "auth-system", "1.3.0")

    assert "registered acme-portal" in type_well("project", "register", str(PROJECT), *REGISTRATION)
    assert "auth-system 1.2.4" in type_well("project", "list")
    assert "mira@acme.example" in type_well("project", "show", "acme-portal")
    assert "auth-system: 1.2.4" in type_well("version-map", "show", "acme-portal")
    assert "auth-system 1.2.4" in type_well("version-map", "history", "acme-portal")

    assert "withdrawn auth-system 1.3.0" in type_well(
        "release", "withdraw", "auth-system", "1.3.0", "--reason", "no"
    )
    assert "withdrawn: no" in type_well("release", "list")


@pytest.mark.usefixtures("registry")
def test_the_registrys_no_is_an_exit_code_and_a_cure(upgradepath: Type) -> None:
    unknown = upgradepath("release", "show", "auth-system", "9.9.9")
    assert unknown.exit_code == 4
    assert "cure:" in unknown.stderr
    refused = upgradepath("release", "publish", str(SYSTEMS / "auth-system/1.2.4"), "--as", "maintainer")
    assert refused.exit_code == 1
    assert "library" in refused.stderr
    unmet = upgradepath("project", "register", str(PROJECT), *REGISTRATION)
    assert unmet.exit_code in {1, 4}
    assert "auth-system" in unmet.stderr
