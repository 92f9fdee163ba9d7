"""Prisma's packages come once from the registry that npm would ask, and only as the pinned bytes."""

import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.errors import Reject
from shared.prisma.archives import ENGINE, PARSER, VERSION, module_bytes, npm_registry
from shared.prisma.wasm import Instance, PinMoved, load


class Registry(http.server.ThreadingHTTPServer):
    """An npm registry on this machine; `answers` is what lies at each path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Door)
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/npm"


class _Door(http.server.BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        data = self.server.answers.get(self.path)
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The registry that npm would ask, and an empty cache."""
    with Registry() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{server.url}/")
        monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(tmp_path / "npmrc"))
        monkeypatch.setenv("UPGRADES_CACHE", str(tmp_path / "cache"))
        yield server
        server.shutdown()


PATH = f"/npm/@prisma/{PARSER.package}/-/{PARSER.package}-{VERSION}.tgz"


@pytest.fixture(scope="module")
def archive() -> bytes:
    """The real one."""
    module_bytes(PARSER)
    return PARSER.path.read_bytes()


def test_it_is_fetched_once_and_then_needs_no_registry(archive: bytes, registry: Registry) -> None:
    registry.answers[PATH] = archive
    with ThreadPoolExecutor(4) as several:
        modules = {*several.map(module_bytes, [PARSER] * 4)}
    assert len(modules) == 1
    assert set(registry.asked) == {PATH}
    registry.asked.clear()
    assert {module_bytes(PARSER)} == modules
    assert registry.asked == []
    assert [file.name for file in PARSER.path.parent.iterdir()] == [PARSER.file]


def test_what_was_spoilt_in_the_cache_is_fetched_again(archive: bytes, registry: Registry) -> None:
    registry.answers[PATH] = archive
    PARSER.path.parent.mkdir(parents=True)
    PARSER.path.write_bytes(archive[:-1])
    assert module_bytes(PARSER).startswith(b"\0asm")
    assert PARSER.path.read_bytes() == archive


def test_other_bytes_are_refused_and_not_kept(archive: bytes, registry: Registry) -> None:
    registry.answers[PATH] = archive + b"\0"
    with pytest.raises(Reject, match="not what was pinned") as refused:
        module_bytes(PARSER)
    assert f"npm pack @prisma/{PARSER.package}@{VERSION}" in refused.value.refusals[0].cure
    assert not PARSER.path.exists()


def test_a_registry_that_lacks_it_or_is_not_there_is_named(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Reject, match=r"404.*"):
        module_bytes(ENGINE)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    with pytest.raises(Reject, match=r"http://127\.0\.0\.1:1/@prisma/schema-engine-wasm.* could not be"):
        module_bytes(ENGINE)


def test_a_cache_that_cannot_be_written_is_named(
    archive: bytes, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.answers[PATH] = archive
    (tmp_path / "file").touch()
    monkeypatch.setenv("UPGRADES_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(Reject, match="cannot be kept"):
        module_bytes(PARSER)


def test_npms_own_settings_are_heeded(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert npm_registry() == registry.url
    npmrc = tmp_path / "npmrc"
    npmrc.write_text("; ours\nregistry=https://one.example/\nfund = false\n")
    assert npm_registry() == registry.url
    monkeypatch.delenv("NPM_CONFIG_REGISTRY")
    monkeypatch.delenv("npm_config_registry", raising=False)
    assert npm_registry() == "https://one.example"
    monkeypatch.setenv("MIRROR", "mirror.example")
    npmrc.write_text("registry=https://one.example/\n@prisma:registry = https://${MIRROR}/npm/\n")
    assert npm_registry() == "https://mirror.example/npm"
    npmrc.unlink()
    assert npm_registry() == "https://registry.npmjs.org"


def test_a_module_with_other_imports_is_no_pinned_one() -> None:
    """A new version gives its imports new names, so that it cannot be driven by accident."""
    with pytest.raises(PinMoved, match="__wbg_Error_e83987f665cf5504"):
        Instance(load(PARSER), lambda instance: {})
    assert VERSION == "8.1.0-2.59be4fda12412a79eeb9c2ae727b6aa723593323"
