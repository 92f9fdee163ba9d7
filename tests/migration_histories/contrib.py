"""PostgreSQL's own extensions for the embedded server, which comes with `vector` alone.

They are of another build of the same version, fetched once from the npm registry by its digest and kept in
the cache; the server is told where they lie, and nothing of it is changed.
"""

import io
import platform
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from shared.prisma.archives import Archive, archive_bytes

_CONTRIB = Archive(
    "linux-x64",
    "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
    scope="embedded-postgres",
    version="18.4.0-beta.17",
)
_WITHIN = "package/native"
_WANTED = ("lib/", "share/postgresql/extension/")


def contrib_settings() -> dict[str, str]:
    """The server's settings with which CREATE EXTENSION finds them. Blocks for the first fetch, of 24 MB.

    Raises `Reject` when they cannot be fetched, RuntimeError where they were not built for this machine.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise RuntimeError(f"PostgreSQL's extensions are not at hand for {sys.platform} {platform.machine()}")
    folder = _folder()
    return {
        "extension_control_path": f"$system:{folder}/share/postgresql",
        "dynamic_library_path": f"$libdir:{folder}/lib/postgresql",
    }


def _folder() -> Path:
    # Not in the cache: the server runs as another user, to whom a home may be closed.
    folder = Path(tempfile.gettempdir()) / f"upgradepath-contrib-{_CONTRIB.version}"
    if folder.is_dir():
        return folder
    scratch = Path(tempfile.mkdtemp(prefix="upgradepath-contrib-"))
    with tarfile.open(fileobj=io.BytesIO(archive_bytes(_CONTRIB)), mode="r:gz") as members:
        for member in members.getmembers():
            name = member.name.removeprefix(f"{_WITHIN}/")
            if member.isfile() and name.startswith(_WANTED):
                member.name = name
                members.extract(member, scratch, filter="data")
    scratch.chmod(0o755)
    try:
        scratch.rename(folder)
    except OSError:
        # Another process was faster.
        shutil.rmtree(scratch)
    return folder
