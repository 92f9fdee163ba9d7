"""Packages made of small dictionaries, for tests."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.packages.archive import pack_folder

Files = Mapping[str, str | bytes]


def a_package(
    name: str = "auth-system",
    version: str = "1.3.0",
    *,
    files: Files | None = None,
    manifest: str = "",
    more: Files | None = None,
) -> dict[str, str | bytes]:
    """The files of a sound package; `manifest` is appended to system.toml, `files` go under files/."""
    made: dict[str, str | bytes] = {
        "system.toml": f'name = "{name}"\nversion = "{version}"\nsummary = "Something new"\n{manifest}',
        "CHANGELOG.md": f"# Changes\n\n## {version}\nNew things.\n\n## 0.0.1\nThe first.\n",
        "MIGRATION.md": f"## {version}\n\n## 0.0.1\n",
        "prisma/schema.prisma": "",
    }
    made |= {f"files/{path}": content for path, content in (files or {}).items()}
    return made | dict(more or {})


def packed(files: Files) -> bytes:
    """What the command line would publish for these files."""
    with TemporaryDirectory(prefix="upgradepath-package-") as name:
        folder = Path(name)
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)
        return pack_folder(folder)


def archive_of(*members: tarfile.TarInfo, content: bytes = b"") -> bytes:
    """A tar.gz of exactly these members, whatever they are."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for member in members:
            if member.isreg():
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()
