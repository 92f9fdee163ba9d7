"""Nothing leaves this machine in plaintext, unless one setting says that it may."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from cli.client import Server
from cli.world import NoAnswer
from local.ports import free_port
from services.processes import _Server
from services.registry.settings import RegistrySettings
from shared.clients.libpq import UnusableUrl
from shared.contracts.envelope import explain
from shared.http.listener import listener
from shared.plaintext import Plaintext, refuse_plaintext_database
from shared.project_settings import VaultSettings
from shared.settings import HttpSettings
from tests.support.authority import Authority, Files
from tests.support.keys import PUBLIC_KEYS
from tests.support.proofs import key_settings, key_variables

ALLOW = "UPGRADES_ALLOW_PLAINTEXT"
SYSTEM = str(Path(__file__).parents[2] / "examples/systems/auth-system/1.3.0")
HERE = "postgresql://u:hush@127.0.0.1/registry"
AWAY = "postgresql://u:hush@db.example/registry"


def settings(**others: Any) -> RegistrySettings:
    asked: dict[str, Any] = {"content_url": "file:///srv", "database_url": HERE, **others}
    return RegistrySettings(token_public_keys=PUBLIC_KEYS, **key_settings("registry"), **asked)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"database_url": AWAY}, ("UPGRADES_REGISTRY_DATABASE_URL", "db.example", "sslmode=verify-full")),
        ({"database_url": f"{AWAY}?sslmode=prefer"}, ("sslmode=prefer", "db.example", "sslmode=require")),
        ({"database_url": f"{AWAY}?sslmode=allow"}, ("sslmode=allow",)),
        ({"database_url": f"{AWAY}?sslmode=disable"}, ("sslmode=disable",)),
        ({"database_url": "postgresql://u@127.0.0.1,db.example/x"}, ("db.example",)),
        ({"database_url": "postgresql:///x?host=db.example"}, ("db.example",)),
        ({"scratch_database_url": AWAY}, ("UPGRADES_SCRATCH_DATABASE_URL", "db.example", "verify-full")),
        ({"scratch_database_url": f"{AWAY}?sslmode=prefer"}, ("sslmode=prefer", "db.example")),
        ({"content_url": "http://minio.example/x"}, ("UPGRADES_CONTENT_URL", "minio.example", "https://")),
        ({"otlp_endpoint": "http://collector.example:4318"}, ("UPGRADES_OTLP_ENDPOINT", "collector.example")),
    ],
    ids=str,
)
def test_a_service_does_not_start_with_plaintext_beyond_this_machine(
    others: dict[str, Any], words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**others)
    said = explain(refused.value)
    for word in (*words, f"{ALLOW}=true"):
        assert word in said
    assert "hush" not in f"{said} {refused.value} {refused.value!r}"
    monkeypatch.setenv(ALLOW, "true")
    assert settings(**others).allow_plaintext


def test_a_store_behind_a_providers_client_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example:9000")
    with pytest.raises(ValidationError, match=r"AWS_ENDPOINT_URL: .*minio.example"):
        settings(content_url="s3://bucket/prefix")
    assert settings(content_url="gs://bucket/prefix").content_url == "gs://bucket/prefix"


def test_encrypted_and_local_ones_start() -> None:
    for url in (HERE, f"{AWAY}?sslmode=require", f"{AWAY}?sslmode=verify-full", "postgresql:///x"):
        assert settings(database_url=url, otlp_endpoint="https://collector.example").database_url == url
        assert settings(scratch_database_url=url).scratch_database_url == url
    with pytest.raises(ValidationError, match="channel_binding"):
        settings(database_url=f"{AWAY}?sslmode=require&channel_binding=require")


def test_the_environments_sslmode_counts_as_libpq_counts_it() -> None:
    refuse_plaintext_database("X", AWAY, {"PGSSLMODE": "require"}, allowed=False)
    with pytest.raises(Plaintext):
        refuse_plaintext_database("X", AWAY, {"PGSSLMODE": "nonsense"}, allowed=False)
    with pytest.raises(UnusableUrl):
        refuse_plaintext_database("X", f"{AWAY}?sslmode=full", {}, allowed=True)


def test_vault_is_not_asked_in_plaintext_beyond_this_machine() -> None:
    with pytest.raises(ValidationError, match=r"UPGRADES_VAULT_ADDRESS: secrets would go to vault.example"):
        VaultSettings(address="http://vault.example:8200")
    assert VaultSettings(address="https://vault.example").address == "https://vault.example"
    assert VaultSettings(address="http://127.0.0.1:8200").address == "http://127.0.0.1:8200"


def test_a_persons_token_is_not_sent_in_plaintext(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent: the name does not exist, and nobody looks it up."""

    def ask(url: str, token: str | None) -> None:
        with Server(url=url, token=token, wanted=None, default="sre") as server:
            server.read("registry", "releases")

    with pytest.raises(Plaintext, match=r"upgrades.invalid unencrypted: use https://") as refused:
        ask("http://upgrades.invalid", "hush")
    assert "hush" not in str(refused.value)
    monkeypatch.setenv("UPGRADEPATH_TOKEN", "hush")
    with pytest.raises(Plaintext):
        ask("http://upgrades.invalid", None)
    for url in ("https://upgrades.invalid", f"http://127.0.0.1:{free_port()}"):
        with pytest.raises(NoAnswer, match="does not answer"):
            ask(url, "hush")
    monkeypatch.setenv(ALLOW, "true")
    with pytest.raises(NoAnswer, match="does not answer"):
        ask("http://upgrades.invalid", "hush")


async def test_a_listener_beyond_this_machine_needs_a_certificate() -> None:
    """The process is a real one: it says what to set, and nothing listens."""
    environment = {
        **key_variables("registry"),
        "PATH": os.environ["PATH"],
        "UPGRADES_CONTENT_URL": "file:///srv",
        "UPGRADES_TOKEN_PUBLIC_KEYS": PUBLIC_KEYS.jwks(),
        "UPGRADES_REGISTRY_DATABASE_URL": HERE,
    }
    command = [sys.executable, "-m", "cli", "service", "registry", "--host", "192.0.2.7"]
    ended = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, env=environment
    )
    assert ended.returncode == 2, ended.stderr
    for word in ("--host", "192.0.2.7", "UPGRADES_HTTP_CERTFILE", "--tls-certificate", f"{ALLOW}=true"):
        assert word in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ({"keyfile": "key.pem"}, "set UPGRADES_HTTP_CERTFILE"),
        ({"certfile": "/no/cert.pem"}, "No such file"),
        ({"certfile": __file__}, "a certificate and its private key in PEM"),
    ],
    ids=str,
)
def test_a_wrong_certificate_is_known_at_the_start(given: dict[str, str], cure: str) -> None:
    with pytest.raises(ValidationError, match=cure):
        HttpSettings.model_validate(given)


@asynccontextmanager
async def served(files: Files) -> AsyncIterator[int]:
    """An application behind the real listener with this certificate; its port."""
    app = FastAPI()

    @app.get("/registry/releases")
    async def releases() -> list[str]:
        return ["well"]

    port = free_port()
    http = HttpSettings.model_validate(
        {"certfile": files.certificate, "keyfile": files.key, "keyfile_password": "opens"}
    )
    server = _Server(listener(app, http, port=port, **http.tls()))
    serving = asyncio.create_task(server.serve())
    await server.ready.wait()
    try:
        yield port
    finally:
        server.should_exit = True
        await serving


async def test_the_command_line_trusts_an_authority_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Authority.new().write(tmp_path / "ours", "registry", ("127.0.0.1",), b"opens")
    other = Authority.new().write(tmp_path / "other", "other")

    def ask() -> Any:
        with Server(url=f"https://127.0.0.1:{port}", token="t", wanted=None, default="sre") as server:
            return server.read("registry", "releases")

    async with served(files) as port:
        for name in ("UPGRADES_HTTP_CAFILE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(files.ca))
            assert await asyncio.to_thread(ask) == ["well"]
            monkeypatch.setenv(name, str(other.ca))
            with pytest.raises(NoAnswer, match="not proven") as refused:
                await asyncio.to_thread(ask)
            assert "UPGRADES_HTTP_CAFILE" in refused.value.cure
            monkeypatch.delenv(name)
        monkeypatch.setenv("UPGRADES_HTTP_CAFILE", json.dumps("nowhere"))
        with pytest.raises(NoAnswer, match="UPGRADES_HTTP_CAFILE names"):
            await asyncio.to_thread(ask)
