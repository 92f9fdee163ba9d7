"""Git reaches a Project's repository with the Project's credential, and with nothing of the worker's own.

The programs are real: Git, a server over TLS, and in place of ssh one that writes down how it was called.
"""

import ast
import base64
import datetime
import http.server
import ipaddress
import json
import os
import shutil
import ssl
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.clients.git import Git
from shared.clients.git_access import WorkersAccess
from shared.clients.git_command import git as run_git
from shared.errors import Failure, Retry
from shared.repository_urls import BadRepository, RepositoryRules

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "t0ken-of-acme"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nkey-of-acme\n-----END OPENSSH PRIVATE KEY-----"
LOCAL = RepositoryRules(local=True)
_RECORDER = """#!{python}
import json, os, sys
key = next((word[13:] for word in sys.argv if word.startswith("IdentityFile=")), "none")
said = {{"argv": sys.argv, "env": dict(os.environ), "key": open(key).read() if os.path.exists(key) else None,
         "mode": os.stat(key).st_mode & 0o777 if os.path.exists(key) else None}}
json.dump(said, open({out!r}, "w"))
sys.exit(255)
"""
_WORKERS = {
    "SSH_AUTH_SOCK": "/tmp/agent-of-the-worker",
    "GIT_SSH_COMMAND": "ssh -i /root/.ssh/worker",
    "GIT_ASKPASS": "/bin/echo",
    "SSH_ASKPASS": "/bin/echo",
    "GIT_CONFIG_PARAMETERS": "'http.extraHeader=X-Worker: 1'",
    "GIT_PROXY_COMMAND": "/bin/echo",
    "UPGRADES_EXECUTOR_DATABASE_URL": "postgresql://worker",
    "LD_PRELOAD": "",
}


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _recorded(path: Path) -> Any:
    """How the program was called."""
    return json.loads(path.read_text())


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The worker's user has configuration, keys, an agent, and passwords; where ssh writes down its call."""
    home, programs, said = tmp_path / "home", tmp_path / "bin", tmp_path / "ssh.json"
    home.mkdir()
    (home / ".gitconfig").write_text(
        '[http]\n\textraHeader = X-Worker: 1\n[credential]\n\thelper = "!echo password=of-the-worker #"\n'
        f'[core]\n\thooksPath = {home}/hooks\n[url "https://elsewhere.example/"]\n\tinsteadOf = https://\n'
    )
    (home / ".netrc").write_text("machine localhost login worker password of-the-worker\n")
    (home / ".netrc").chmod(0o600)
    _program(programs / "ssh", _RECORDER.format(python=sys.executable, out=str(said)))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for name, value in _WORKERS.items():
        monkeypatch.setenv(name, value)
    return said


async def test_over_ssh_only_the_projects_key_is_there(workers: Path, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    access = WorkersAccess(LOCAL, KEY, known)
    with pytest.raises(Retry):
        await Git.open("ssh://git@localhost:2222/acme/portal.git", tmp_path / "clone", access)
    said = _recorded(workers)
    assert (said["key"].strip(), said["mode"]) == (KEY, 0o600)
    options = {word for word in said["argv"] if "=" in word}
    assert {
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={known}",
        "HostKeyAlias=localhost",
        "BatchMode=yes",
        "ForwardAgent=no",
    } <= options
    assert said["argv"][1:3] == ["-F", "/dev/null"]
    assert any(f"HostName={host}" in options for host in ("127.0.0.1", "::1")), "it resolves the name again"
    for name in ("SSH_AUTH_SOCK", "GIT_ASKPASS", "SSH_ASKPASS", "UPGRADES_EXECUTOR_DATABASE_URL"):
        assert name not in said["env"]
    assert said["env"]["HOME"] == "/nonexistent"
    assert "key-of-acme" not in " ".join(said["argv"])
    key = next(word[13:] for word in said["argv"] if word.startswith("IdentityFile="))
    with pytest.raises(FileNotFoundError):
        _recorded(Path(key))  # it does not outlive the call


async def test_without_a_credential_no_key_is_tried(workers: Path, tmp_path: Path) -> None:
    with pytest.raises(Retry):
        await Git.open("git@localhost:acme/portal.git", tmp_path / "clone", WorkersAccess(LOCAL))
    said = _recorded(workers)
    assert said["key"] is None
    assert "IdentityFile=none" in said["argv"]


# --- over https ----------------------------------------------------------------------------------


class _Server(http.server.ThreadingHTTPServer):
    """Refuses or redirects every request, and remembers it."""

    def __init__(self, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.redirect: str | None = None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        if self.server.redirect is None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
        else:
            self.send_response(302)
            self.send_header("Location", self.server.redirect + self.path)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The test looks at what was asked."""


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate for localhost that Git is told to trust, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("GIT_SSL_CAINFO", str(path))
    return path


@pytest.fixture
def server(certificate: Path) -> Iterator[_Server]:
    with _Server(certificate) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


async def _asked(
    server: _Server, folder: Path, credential: str | None, refused: type[Exception] = Failure
) -> str:
    """Git's words when it was refused: who keeps the credential is asked, so it is a verdict."""
    remote = f"https://localhost:{server.server_port}/acme/portal.git"
    with pytest.raises(refused) as failed:
        await Git.open(remote, folder, WorkersAccess(LOCAL, credential))
    return str(failed.value)


@pytest.mark.parametrize(
    ("credential", "sent"),
    [(TOKEN, f"x-access-token:{TOKEN}"), (f"deploy:{TOKEN}", f"deploy:{TOKEN}"), (None, None)],
)
async def test_over_https_only_the_projects_token_is_sent(
    workers: Path, server: _Server, tmp_path: Path, credential: str | None, sent: str | None
) -> None:
    said = await _asked(server, tmp_path / "clone", credential)
    assert server.asked, said
    for _, headers in server.asked:
        expected = None if sent is None else "Basic " + base64.b64encode(sent.encode()).decode()
        assert headers.get("Authorization") == expected
        assert "X-Worker" not in headers
    encoded = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "clone").rglob("*") if path.is_file())
    for secret in (TOKEN, encoded):
        assert secret not in said
        assert secret.encode() not in kept


async def test_a_token_is_in_no_arguments(
    workers: Path, server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = shutil.which("git"), tmp_path / "arguments"
    _program(tmp_path / "spy" / "git", f'#!/bin/sh\nprintf "%s\\n" "$@" >> {seen}\nexec {real} "$@"\n')
    monkeypatch.setenv("PATH", f"{tmp_path / 'spy'}:{os.environ['PATH']}")
    await _asked(server, tmp_path / "clone", TOKEN)
    assert server.asked
    assert "fetch" in seen.read_text()
    assert TOKEN not in seen.read_text()
    assert base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode() not in seen.read_text()


async def test_a_redirect_is_not_followed(
    workers: Path, server: _Server, certificate: Path, tmp_path: Path
) -> None:
    with _Server(certificate) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        server.redirect = f"https://localhost:{other.server_port}"
        await _asked(server, tmp_path / "clone", TOKEN, Retry)
        other.shutdown()
        assert server.asked
        assert other.asked == []


async def test_a_name_that_means_the_worker_is_not_asked(
    workers: Path, server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public name may point anywhere: its address is judged, and asked only as it was judged."""
    import socket

    def points_here(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", points_here)
    remote = f"https://git.example.com:{server.server_port}/acme/portal.git"
    for rules in (RepositoryRules(), RepositoryRules(hosts=("git.example.com",))):
        with pytest.raises(BadRepository, match="the worker's own machine"):
            await Git.open(remote, tmp_path / "clone", WorkersAccess(rules, TOKEN))
    assert server.asked == []


def test_every_service_opens_a_repository_by_its_projects_door() -> None:
    """Would catch a call in a service that reaches a remote with the worker's own keys and protocols."""
    calls = [
        call
        for path in (ROOT / "services").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Git.open"
    ]
    assert len(calls) >= 3
    assert [ast.unparse(call) for call in calls if len(call.args) != 3] == []
    named = "PersonsAccess"
    assert [str(path) for path in (ROOT / "services").rglob("*.py") if named in path.read_text()] == []


# --- what Git itself refuses ---------------------------------------------------------------------


@pytest.mark.parametrize("remote", ["{}/x.git", "file://{}/x.git", "ext::sh -c touch% {}/ran"])
@pytest.mark.parametrize("rules", [RepositoryRules(), LOCAL], ids=["public", "dev"])
async def test_git_runs_no_program_and_reads_no_file_for_a_remote(
    tmp_path: Path, remote: str, rules: RepositoryRules
) -> None:
    await Git.open(str(tmp_path / "x.git"), tmp_path / "x.git", WorkersAccess(LOCAL))
    named = remote.format(tmp_path)
    if rules.local and not named.startswith("ext::"):
        await Git.open(named, tmp_path / "clone", WorkersAccess(rules))
        return
    with pytest.raises(BadRepository):
        await Git.open(named, tmp_path / "clone", WorkersAccess(rules))
    # The same, had it not been refused before.
    async with WorkersAccess(rules).reaching("https://93.184.216.34/x.git") as variables:
        with pytest.raises(Retry, match="not allowed"):
            await run_git(tmp_path / "x.git", "ls-remote", named, variables=variables)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("remote", "credential"),
    [
        ("https://localhost/x.git", KEY),
        ("https://localhost/x.git", f"{TOKEN}\r\nX-Other: 1"),
        ("ssh://git@localhost/x.git", TOKEN),
    ],
)
async def test_a_credential_of_the_other_kind_is_not_sent(
    workers: Path, tmp_path: Path, remote: str, credential: str
) -> None:
    with pytest.raises(BadRepository, match="the repository's credential is not") as caught:
        await Git.open(remote, tmp_path / "clone", WorkersAccess(LOCAL, credential))
    assert TOKEN not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        _recorded(workers)
