"""A package read whole: pure, safe against what a stranger may put into an archive, all mistakes at once."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

from shared.bounds import FILE_BYTES_MAX
from shared.contracts.folding import folded, folded_places
from shared.contracts.refusals import Refusal
from shared.contracts.values import Digest, SystemName
from shared.declarations import read_toml
from shared.errors import Reject
from shared.packages.archive import Member, open_archive
from shared.packages.headings import read_headings
from shared.packages.manifest import MIGRATION_FOLDER, Manifest
from shared.reading.progress import now_reading
from shared.versions import precedence

MANIFEST: Final = "system.toml"
CHANGELOG: Final = "CHANGELOG.md"
NOTES: Final = "MIGRATION.md"
SCHEMA: Final = "prisma/schema.prisma"
FILES: Final = "files/"
MIGRATIONS: Final = "prisma/migrations/"
_TEXT_BYTES_MAX = 1 << 20
_BYTES_MAX = {MANIFEST: FILE_BYTES_MAX, SCHEMA: FILE_BYTES_MAX}
_README = re.compile(r"README(\.(md|rst|txt))?")
"""At the archive's root; it is for people, and is not installed."""
_TIMESTAMP = re.compile(r"^\d+[_ -]*")
_TITLE_BYTES = 150


@dataclass(frozen=True)
class Migration:
    """One migration; `checksum` is the sha256 of migration.sql, as Prisma has it."""

    name: str
    sql: str
    down_sql: str | None
    checksum: Digest

    @property
    def title(self) -> str:
        """The name without the timestamp, cut to what still fits when a Project names the folder."""
        title = _TIMESTAMP.sub("", self.name).encode()[:_TITLE_BYTES].decode(errors="ignore")
        # Cut behind a word, it must not end as no system lets a name end.
        return title.rstrip(" .") or self.name


@dataclass(frozen=True)
class Package:
    """What is in a package. `files` are by their path under files/, with Git's mode (`100644`, `100755`)."""

    manifest: Manifest
    changelog: dict[str, str]
    migration_notes: dict[str, str]
    files: dict[str, tuple[str, bytes]] = field(repr=False)
    schema: str = field(repr=False)
    migrations: tuple[Migration, ...]

    @property
    def system(self) -> SystemName:
        return self.manifest.name

    def contracting(self, migration: Migration) -> bool:
        """Whether it runs in production only after the activation."""
        return migration.name in self.manifest.migrations.contracting


def nothing_of(system: SystemName) -> Package:
    """The package of a System before its first version: the base from which a Project adds it."""
    manifest = Manifest(name=system, version="0.0.0", summary="Nothing yet")
    return Package(manifest, changelog={}, migration_notes={}, files={}, schema="", migrations=())


def read_package(data: bytes) -> Package:
    """Read the bytes of a package. Raises `Reject` with every mistake found, each with its cure."""
    return _Reading(*open_archive(data)).package()


class _Reading:
    """One package being read; mistakes gather until the end."""

    def __init__(self, members: dict[str, Member], refusals: list[Refusal]) -> None:
        self._members = members
        self._refusals = list(refusals)
        self._refused = bool(refusals)

    def package(self) -> Package:
        manifest = self._manifest()
        before = len(self._refusals)
        changelog = self._headings(CHANGELOG)
        notes = self._headings(NOTES)
        misread = len(self._refusals) > before
        schema = self._text(SCHEMA) if SCHEMA in self._members else ""
        migrations = self._migrations()
        self._refuse_strangers()
        # A heading that cannot be read is one mistake: what would follow from it is none.
        if not misread and changelog and notes and list(changelog) != list(notes):
            cure = f"give {NOTES} the headings of {CHANGELOG}; a version without notes has an empty text"
            self._refuse(f"its headings are not those of {CHANGELOG}", NOTES, cure)
        if manifest is not None:
            self._agree(manifest, {} if misread else changelog, migrations)
        if self._refusals or manifest is None:
            raise Reject(*folded_places(folded(self._refusals)))
        files = {
            path.removeprefix(FILES): ("100755" if member.executable else "100644", member.data)
            for path, member in self._members.items()
            if path.startswith(FILES)
        }
        return Package(manifest, changelog, notes, files, schema, migrations)

    def _refuse(self, reason: str, where: str, cure: str, value: str | None = None) -> None:
        self._refusals.append(Refusal(kind="invalid", reason=reason, field=where, value=value, cure=cure))

    def _text(self, path: str) -> str:
        now_reading(path)
        member = self._members.get(path)
        if member is None and self._refused:
            # It may be one of those that were not taken.
            return ""
        if member is None:
            self._refuse("the package lacks this file", path, "add it at the root of the archive")
            return ""
        bytes_max = _BYTES_MAX.get(path, _TEXT_BYTES_MAX)
        if len(member.data) > bytes_max:
            cure = "make it shorter; what is not for reading belongs under files/"
            self._refuse(f"this file has more than {bytes_max >> 10} KiB", path, cure)
            return ""
        try:
            return member.data.decode("utf-8")
        except UnicodeDecodeError as error:
            self._refuse(f"this is no UTF-8: {error.reason} at byte {error.start}", path, "save it as UTF-8")
            return ""

    def _manifest(self) -> Manifest | None:
        before = len(self._refusals)
        text = self._text(MANIFEST)
        if len(self._refusals) > before or MANIFEST not in self._members:
            return None
        try:
            return read_toml(text, Manifest, file=MANIFEST)
        except Reject as rejected:
            for refusal in rejected.refusals:
                where = refusal.field if refusal.field == MANIFEST else f"{MANIFEST}: {refusal.field}"
                self._refusals.append(refusal.model_copy(update={"field": where}))
            return None

    def _headings(self, path: str) -> dict[str, str]:
        before = len(self._refusals)
        text = self._text(path)
        if len(self._refusals) > before or path not in self._members:
            return {}
        found, refusals = read_headings(text, path)
        self._refusals.extend(refusals)
        return found

    def _migrations(self) -> tuple[Migration, ...]:
        folders = sorted(
            {
                path.split("/")[2]
                for path in self._members
                if path.startswith(MIGRATIONS) and path.count("/") > 2
            }
        )
        found: list[Migration] = []
        for name in folders:
            if not MIGRATION_FOLDER.fullmatch(name):
                cure = "begin it with digits, as <YYYYMMDDHHMMSS>_<name>; up to 200 characters"
                self._refuse("this is no name of a migration", f"{MIGRATIONS}{name}", cure)
                continue
            up, down = f"{MIGRATIONS}{name}/migration.sql", f"{MIGRATIONS}{name}/down.sql"
            sql = self._text(up)
            checksum = hashlib.sha256(sql.encode()).hexdigest()
            found.append(Migration(name, sql, self._text(down) if down in self._members else None, checksum))
        return tuple(found)

    def _refuse_strangers(self) -> None:
        alone = {MANIFEST, CHANGELOG, NOTES, SCHEMA}
        for path in self._members:
            in_migration = (
                path.startswith(MIGRATIONS)
                and path.count("/") == 3
                and path.endswith(("/migration.sql", "/down.sql"))
            )
            if (
                path not in alone
                and not _README.fullmatch(path)
                and not path.startswith(FILES)
                and not in_migration
            ):
                cure = f"move it under {FILES}, or leave it out; {MANIFEST} stands at the archive's root"
                self._refuse("a package has no such file", path, cure)

    def _agree(
        self, manifest: Manifest, changelog: dict[str, str], migrations: tuple[Migration, ...]
    ) -> None:
        if changelog and next(iter(changelog)) != manifest.version:
            cure = f"begin it with `## {manifest.version}`, newest first"
            self._refuse("its first heading is not the package's version", CHANGELOG, cure, manifest.version)
        elif changelog and not changelog[manifest.version].strip():
            cure = "say under its heading what changed"
            self._refuse("it says nothing of the package's version", CHANGELOG, cure, manifest.version)
        names = {migration.name for migration in migrations}
        for name in manifest.migrations.contract:
            if name not in names:
                cure = "name a folder of prisma/migrations, with its timestamp"
                self._refuse("there is no such migration", f"{MANIFEST}: migrations.contract", cure, name)
        if manifest.name in manifest.requires:
            cure = "remove the line"
            self._refuse("a System does not require itself", f"{MANIFEST}: requires", cure, manifest.name)


def versions_between(package: Package, after: str | None, upto: str) -> tuple[str, ...]:
    """The versions of the changelog later than `after` and no later than `upto`, newest first.

    Without `after` it is `upto` alone: how the System became it, is no news to a Project that adds it.
    """
    if after is None:
        return (upto,)
    return tuple(
        version
        for version in package.changelog
        if precedence(after) < precedence(version) <= precedence(upto)
    )
