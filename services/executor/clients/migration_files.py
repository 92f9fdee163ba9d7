"""The folders of Prisma's migrations, as they lie in a repository. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

FOLDER = "prisma/migrations"
"""Where they lie unless the Project says otherwise."""


@dataclass(frozen=True)
class Migration:
    """One folder of the migrations; the checksum is the sha256, in hexadecimal, of migration.sql."""

    folder: str
    sql: str
    checksum: str
    down_sql: str | None = None
    parent: str = FOLDER
    """The folder of all the migrations, from the repository's root."""

    @property
    def path(self) -> str:
        """Its folder, from the repository's root."""
        return f"{self.parent}/{self.folder}"

    def ran_as(self, checksum: str) -> bool:
        """Whether this script has that checksum as Prisma compares: Git may have changed the line ends."""
        if checksum == self.checksum:
            return True
        texts = (self.sql, self.sql.replace("\r\n", "\n"), self.sql.replace("\n", "\r\n"))
        digests = [hashlib.sha256(text.encode()).digest() for text in texts]
        if len(checksum) == len(self.checksum):
            return checksum in [digest.hex() for digest in digests]
        # Prisma's first releases left out the zero with which a byte begins.
        return checksum in ["".join(f"{byte:x}" for byte in digest) for digest in digests]


def read_migrations(files: Mapping[str, bytes], parent: str = FOLDER) -> tuple[Migration, ...]:
    """The migrations below `parent` among a repository's files (path to content), in Prisma's order.

    Prisma goes by the folder's name.
    """
    found = []
    for path in sorted(files):
        folder, _, name = path.removeprefix(parent + "/").rpartition("/")
        if path.startswith(parent + "/") and name == "migration.sql" and folder and "/" not in folder:
            down = files.get(f"{parent}/{folder}/down.sql")
            content = files[path]
            found.append(
                Migration(
                    folder=folder,
                    sql=content.decode(),
                    checksum=hashlib.sha256(content).hexdigest(),
                    down_sql=None if down is None else down.decode(),
                    parent=parent,
                )
            )
    # By the name alone: in a whole path the slash that follows a name would count too.
    return tuple(sorted(found, key=lambda migration: migration.folder))
