"""Packages like Prisma's two of WebAssembly, fetched once from the npm registry and kept in the cache.

What lies in the cache is the registry's own archive, checked against the pinned digest whenever it is read.
"""

import base64
import hashlib
import io
import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from shared.cache import cache_folder, keep
from shared.errors import Reject, not_found

VERSION = "8.1.0-2.59be4fda12412a79eeb9c2ae727b6aa723593323"
_REGISTRY = "https://registry.npmjs.org"
_DOWNLOAD_WITHIN_S = 60.0
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Archive:
    """One package; `integrity` is the registry's sha512, `module` the path inside."""

    package: str
    integrity: str
    module: str = ""
    scope: str = "prisma"
    version: str = VERSION

    @property
    def file(self) -> str:
        """The name that `npm pack` gives it."""
        return f"{self.scope}-{self.package}-{self.version}.tgz"

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return cache_folder() / self.scope / self.file


PARSER = Archive(
    "prisma-schema-wasm",
    "F8LD5fANVr6MYESAgXwjjx43u9mJx/Tbvx+IDa9EhslI8VFBurW9A2kM1BVb+TKXmniwX7H1P08gAlCmoOmpGA==",
    "package/src/prisma_schema_build_bg.wasm",
)
ENGINE = Archive(
    "schema-engine-wasm",
    "gwMxP1eCE8q5kRjXqfO4rrPvJ3Y3jQ4ZPQJiGi/Z+ZA48Y+0WVrvZpANMZCynXVSD88Aqf+z8NoMCfRCX9O9bA==",
    "package/schema_engine_bg.wasm",
)


def module_bytes(archive: Archive) -> bytes:
    """The WebAssembly module of an archive. Blocks; raises `Reject` as `archive_bytes` does."""
    with tarfile.open(fileobj=io.BytesIO(archive_bytes(archive)), mode="r:gz") as members:
        member = members.extractfile(archive.module)
        assert member is not None, f"{archive.file} has no file {archive.module}"
        return member.read()


def archive_bytes(archive: Archive) -> bytes:
    """The archive, fetched when the cache has none of the pinned digest. Blocks.

    Raises `Reject` when it cannot be had, with the way to bring it here by hand.
    """
    data = _kept(archive)
    if data is None:
        data = _fetched(archive)
        try:
            keep(archive.path, data)
        except OSError as error:
            raise _missing(archive, f"it cannot be kept: {error}") from error
    return data


def is_kept(archive: Archive) -> bool:
    """Whether nothing need be fetched."""
    return _kept(archive) is not None


def npm_registry(scope: str = "prisma") -> str:
    """The registry that npm would ask for the scope, without a slash at its end."""
    settings = _npmrc()
    named = (
        settings.get(f"@{scope}:registry")
        or os.environ.get("NPM_CONFIG_REGISTRY")
        # npm reads both, and sets this one for what it starts.
        or os.environ.get("npm_config_registry")  # noqa: SIM112
        or settings.get("registry")
        or _REGISTRY
    )
    return named.rstrip("/")


def _npmrc() -> dict[str, str]:
    file = Path(os.environ.get("NPM_CONFIG_USERCONFIG") or Path.home() / ".npmrc")
    if not file.is_file():
        return {}
    read = (line.partition("=") for line in file.read_text(errors="replace").splitlines())
    return {
        key.strip(): _VARIABLE.sub(lambda name: os.environ.get(name[1], name[0]), value.strip())
        for key, equals, value in read
        if equals and key.strip() and not key.strip().startswith(("#", ";"))
    }


def _kept(archive: Archive) -> bytes | None:
    if not archive.path.is_file():
        return None
    data = archive.path.read_bytes()
    return data if _digest(data) == archive.integrity else None


def _digest(data: bytes) -> str:
    return base64.b64encode(hashlib.sha512(data).digest()).decode()


def _fetched(archive: Archive) -> bytes:
    # Once on a machine: no service keeps its memory for that.
    import httpx

    package, registry = f"@{archive.scope}/{archive.package}", npm_registry(archive.scope)
    url = f"{registry}/{package}/-/{archive.package}-{archive.version}.tgz"
    try:
        answer = httpx.get(url, timeout=_DOWNLOAD_WITHIN_S, follow_redirects=True)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _missing(archive, f"{url} could not be fetched: {error}") from error
    if _digest(answer.content) != archive.integrity:
        raise _missing(archive, f"{url} is not what was pinned: sha512 {_digest(answer.content)}")
    return answer.content


def _missing(archive: Archive, reason: str) -> Reject:
    folder = archive.path.parent
    return not_found(
        f"the package @{archive.scope}/{archive.package} is not here: {reason}",
        field="UPGRADES_CACHE",
        value=folder,
        cure="let this machine reach the npm registry once (npm's own setting `registry` is heeded)"
        f", or bring the file: mkdir -p {folder} && cd {folder}"
        f" && npm pack @{archive.scope}/{archive.package}@{archive.version}",
    )
