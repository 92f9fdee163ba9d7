"""Staging, made once per session; scratch, content and secrets anew for each test."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.validator.stage import Tools
from shared.addresses import LOOPBACK
from shared.clients.content import ContentStore
from shared.clients.secrets import Secrets
from shared.isolation.choosing import Isolation
from tests.support.scopes import LOCAL_RULES
from tests.validator.staging_world import (
    DATABASE,
    KEY,
    PRODUCTION,
    STAGING,
    Staging,
    Watched,
    app,
    make_repository,
)


@pytest.fixture(scope="session")
def staging_secret(postgres: Any) -> str:
    """The URL behind staging's secret; the Run's own database stands beside the one that it names."""
    postgres.create_database(DATABASE)
    return str(postgres.url("staging"))


@pytest.fixture(scope="session")
async def staging_database(postgres: Any, staging_secret: str) -> str:
    url = str(postgres.url(DATABASE))
    connection = await asyncpg.connect(url)
    await connection.execute("create table users (id int, email text); insert into users values (1, 'a@b')")
    await connection.close()
    return url


@pytest.fixture(scope="session")
def upgrade(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("project") / "repository.git"
    return folder, make_repository(folder)


@pytest.fixture
async def staging(
    tmp_path: Path, upgrade: tuple[Path, str], staging_secret: str, staging_database: str
) -> AsyncIterator[Staging]:
    variables = Watched(
        {
            STAGING: staging_secret,
            KEY: "k3y-value",
            PRODUCTION: "postgresql://app:pr0duction@127.0.0.1/production",
        }
    )
    asked: list[str] = []
    secrets = Secrets(None, variables, scopes=("staging", "repository"))
    tools = Tools(
        ContentStore("memory:///"),
        secrets,
        tmp_path / "scratch",
        repositories=LOCAL_RULES,
        networks=LOOPBACK,
        isolation=Isolation.here(LOOPBACK),
    )
    repository, commit = upgrade
    async with app(asked) as address:
        yield Staging(repository, commit, tools, variables, address, asked)
