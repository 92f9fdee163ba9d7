"""Secrets in HashiCorp Vault: one place per Project, environment and name, and errors that say what to do.

The server here is ours: it speaks the documented HTTP API of the KV engine, version 2, and of the logins
(https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2). No real Vault is on this machine.
"""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.clients.secret_sources import UnusableSecret
from shared.clients.secrets import MissingSecret, Secrets
from shared.clients.vault import VaultSource
from shared.errors import Retry
from shared.project_settings import VaultSettings
from tests.registry.registry_world import project

TOKEN = "hvs.token-of-the-worker"


class _Vault(http.server.ThreadingHTTPServer):
    """What lies below the mount `secret`, and who asked for what."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kept: dict[str, Any] = {}
        self.asked: list[str] = []
        self.tokens = {TOKEN}
        self.logins: dict[str, Any] = {}
        self.sealed = False
        self.slow_s = 0.0
        self.answered = threading.Event()
        """Never set: a slow server is one that lets its client wait."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Vault

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.answered.wait(self.server.slow_s)
        place = self.path.partition("?")[0].removeprefix("/v1/secret/data/")
        if self.server.sealed:
            self._say(503, {"errors": ["Vault is sealed"]})
        elif self.headers.get("X-Vault-Token") not in self.server.tokens:
            self._say(403, {"errors": ["permission denied"]})
        elif place not in self.server.kept:
            self._say(404, {"errors": []})
        else:
            self._say(200, {"data": {"data": self.server.kept[place], "metadata": {"version": 1}}})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.server.logins[self.path] = json.loads(self.rfile.read(length))
        token = f"hvs.login-{len(self.server.logins)}"
        self.server.tokens.add(token)
        self._say(200, {"auth": {"client_token": token, "lease_duration": 60, "renewable": True}})

    def do_PUT(self) -> None:
        self.do_POST()

    def _say(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The test looks at what was asked."""


@pytest.fixture
def vault() -> Iterator[_Vault]:
    with _Vault() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.kept = {
            "acme-portal/production/database": {"value": "of production"},
            "acme-portal/staging/database": {"value": "of staging"},
            "bolt-portal/production/database": {"value": "of bolt"},
            "acme-portal/staging/number": {"value": 5},
            "acme-portal/staging/large": {"value": "x" * (1 << 20)},
            "acme-portal/staging/other-field": {"password": "x"},
        }
        yield server
        server.shutdown()


def settings(vault: _Vault, **given: Any) -> VaultSettings:
    told = {"address": f"http://127.0.0.1:{vault.server_port}", "token": TOKEN, "answer_within_s": 1}
    return VaultSettings.model_validate(told | given)


def secrets(vault: _Vault, **given: Any) -> Secrets:
    return Secrets(None, {}, more=[VaultSource(settings(vault, **given))])


def test_a_name_is_looked_for_in_its_scope_alone(vault: _Vault) -> None:
    found = secrets(vault)
    assert found.of("acme-portal", "production").resolve("secret:database") == "of production"
    assert found.of("acme-portal", "staging").resolve("secret:database") == "of staging"
    with pytest.raises(MissingSecret, match="Vault's secret/mallory-portal/staging/database"):
        found.of("mallory-portal", "staging").resolve("secret:database")
    assert found.of("acme-portal", "staging").redact("it is of staging") == "it is ***"


async def test_a_stage_reads_its_own_project_once_and_then_from_memory(vault: _Vault) -> None:
    vault.kept["acme-portal/staging/acme-portal-staging"] = {"value": "one"}
    source = VaultSource(settings(vault))
    found = Secrets(None, {}, more=[source], scopes=("staging", "repository"))
    await found.prepare(project())
    assert {path.partition("?")[0] for path in vault.asked} == {
        "/v1/secret/data/acme-portal/staging/acme-portal-staging"
    }
    asked = len(vault.asked)
    scoped = found.of("acme-portal", "staging")
    assert [scoped.resolve("secret:acme-portal-staging") for _ in range(3)] == ["one"] * 3
    assert len(vault.asked) == asked
    vault.kept["acme-portal/staging/acme-portal-staging"] = {"value": "two"}
    await found.prepare(project())
    assert scoped.resolve("secret:acme-portal-staging") == "two", "a new stage sees a changed secret"


@pytest.mark.parametrize("name", ["number", "large", "other-field"])
def test_what_is_no_text_is_refused_with_the_command_that_mends_it(vault: _Vault, name: str) -> None:
    with pytest.raises(UnusableSecret, match=f"vault kv put secret/acme-portal/staging/{name} value="):
        secrets(vault).of("acme-portal", "staging").resolve(f"secret:{name}")


def test_a_token_that_may_not_read_says_what_to_allow(vault: _Vault) -> None:
    vault.tokens.clear()
    with pytest.raises(Retry, match=r"allow `read` on secret/data/acme-portal/\*") as caught:
        secrets(vault).of("acme-portal", "staging").resolve("secret:database")
    assert TOKEN not in str(caught.value)


def test_a_token_that_was_renewed_in_its_file_is_read_again(vault: _Vault, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    source = VaultSource(settings(vault, token=None, token_file=file))
    found = Secrets(None, {}, more=[source]).of("acme-portal", "staging")
    assert found.resolve("secret:database") == "of staging"
    vault.tokens = {"hvs.renewed"}
    file.write_text("hvs.renewed")
    with pytest.raises(MissingSecret):
        found.resolve("secret:never-asked-before")


@pytest.mark.parametrize("trouble", ["sealed", "slow", "gone"])
def test_a_vault_that_does_not_answer_is_asked_again_later(vault: _Vault, trouble: str) -> None:
    given = {}
    match trouble:
        case "sealed":
            vault.sealed = True
        case "slow":
            vault.slow_s = 2
        case _:
            given = {"address": "http://127.0.0.1:9"}
    with pytest.raises(Retry, match="is up and unsealed") as caught:
        secrets(vault, **given).of("acme-portal", "staging").resolve("secret:database")
    assert TOKEN not in str(caught.value)


def test_logins_of_kubernetes_and_approle(vault: _Vault, tmp_path: Path) -> None:
    jwt = tmp_path / "jwt"
    jwt.write_text("service-account")
    by_pod = {"token": None, "kubernetes_role": "executor", "kubernetes_token_file": jwt}
    by_role = {"token": None, "approle_role_id": "executor", "approle_secret_id": "s"}
    for given in (by_pod, by_role):
        assert secrets(vault, **given).of("acme-portal", "staging").resolve("secret:database")
    assert vault.logins["/v1/auth/kubernetes/login"] == {"role": "executor", "jwt": "service-account"}
    assert vault.logins["/v1/auth/approle/login"] == {"role_id": "executor", "secret_id": "s"}


def test_no_token_of_the_workers_user_is_taken(
    vault: _Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".vault-token").write_text(TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    with pytest.raises(Retry, match="UPGRADES_VAULT_TOKEN"):
        secrets(vault, token=None).of("acme-portal", "staging").resolve("secret:database")
    assert vault.asked == []


@pytest.mark.parametrize("address", ["vault:8200", "file:///etc", "http://u:p@vault", "http://vault/x"])
def test_an_address_that_is_none_is_known_at_the_start(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        VaultSettings(address=address)
