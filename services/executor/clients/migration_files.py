"""The folders of `prisma/migrations`, as they lie in a repository. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

FOLDER = "prisma/migrations"


@dataclass(frozen=True)
class Migration:
    """One folder of `prisma/migrations`; the checksum is the sha256, in hexadecimal, of migration.sql."""

    folder: str
    sql: str
    checksum: str
    down_sql: str | None = None

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


def read_migrations(files: Mapping[str, bytes]) -> tuple[Migration, ...]:
    """The migrations among a repository's files (path to content), in Prisma's order: by folder name."""
    found = []
    for path in sorted(files):
        folder, _, name = path.removeprefix(FOLDER + "/").rpartition("/")
        if path.startswith(FOLDER + "/") and name == "migration.sql" and folder and "/" not in folder:
            down = files.get(f"{FOLDER}/{folder}/down.sql")
            content = files[path]
            found.append(
                Migration(
                    folder=folder,
                    sql=content.decode(),
                    checksum=hashlib.sha256(content).hexdigest(),
                    down_sql=None if down is None else down.decode(),
                )
            )
    # By the name alone: in a whole path the slash that follows a name would count too.
    return tuple(sorted(found, key=lambda migration: migration.folder))
