"""Where sealed backups of production lie: a store of their own, which packages and plans do not share.

Only this process's private scratch ever holds a plain dump, and only while a stage works on it. What lies in
the content store under a backup's digest is of an earlier time, when dumps were kept there as they are.
"""

import asyncio
import hashlib
import secrets as random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.executor.clients.backup_keys import (
    BackupKeys,
    UnusableBackupKey,
    keys_of_project,
)
from services.executor.clients.backup_places import EarlierPlaces, holds, is_there, taken_from
from services.executor.clients.sealed_file import Damaged, NotOpened, Sealed, is_sealed, seal, unseal
from shared.clients.content import ContentStore, Corrupted
from shared.clients.secret_sources import UnusableSecret
from shared.clients.secrets import BACKUP_KEY, Secrets
from shared.contracts.projects import Project
from shared.contracts.stages import Finding
from shared.contracts.values import Digest
from shared.errors import Failure, Retry
from shared.isolation.scratch import temporary_folder

KEEP_DAYS = 30.0
_RUNBOOK = "docs/runbooks/backup-key-lost.md"
_GIVE_KEY = (
    f"give the executor the private key (UPGRADES_BACKUP_KEY, or the Project's {BACKUP_KEY}): {_RUNBOOK}"
)
_WITHOUT = "run roll-back without --restore-backup, where the migrations lead back"


@dataclass(frozen=True)
class BackupStore:
    """Keeps, opens and deletes backups. Methods raise `Retry` when a store cannot be asked."""

    store: ContentStore
    earlier: ContentStore
    """The content store."""
    secrets: Secrets = field(repr=False)
    keys: BackupKeys = field(default_factory=BackupKeys)
    """The system's, for Projects without keys of their own."""
    allow_unsealed: bool = False
    keep_days: float = KEEP_DAYS
    place: str = ""
    """Where `store` is, as the journal notes it with each backup."""
    places: EarlierPlaces = field(default_factory=EarlierPlaces)

    def lacking(self, project: Project) -> list[Finding]:
        """What of the keys is missing here, asked of the keys alone."""
        try:
            keys = self._keys(project)
        except Failure as failure:
            return list(failure.outcome.findings)
        if keys.recipients and not keys.opens & set(keys.recipients):
            return [_unopened(NotOpened(keys.recipients, sorted(keys.opens)))]
        return []

    def require_keys(self, project: Project) -> None:
        """Raises Failure unless a backup of this Project can be sealed here."""
        self._keys(project)

    async def seal(self, project: Project, plain: Path, sealed: Path) -> Sealed:
        """Seal the dump; without a key, where the operator allows that, it is kept as it is."""
        keys = self._keys(project)
        try:
            if keys.recipients:
                return await asyncio.to_thread(seal, plain, sealed, keys)
            return await asyncio.to_thread(_as_it_is, plain, sealed)
        except OSError as error:
            raise Retry(f"the backup cannot be sealed in the work folder: {error.strerror}") from error

    async def put(self, sealed: Path) -> Digest:
        return await self.store.put_file(sealed)

    async def has(self, digest: Digest, noted: str | None = None) -> bool:
        """True when a store has it. `noted` is the place that the journal names.

        Raises `Retry` when none has it of those that answer, and one does not answer.
        """
        away: Retry | None = None
        for place, store in self._stores(noted):
            try:
                if await holds(place, store, digest, expected=place == noted):
                    return True
            except Retry as error:
                away = error
        if away is not None:
            raise away
        return False

    def _stores(self, noted: str | None) -> Iterator[tuple[str, ContentStore]]:
        yield self.place, self.store
        yield from self.places.besides(self.place, noted)
        yield "", self.earlier

    async def fetch(self, project: Project, digest: Digest, target: Path, noted: str | None = None) -> None:
        """Write the dump to `target`, after every byte that is stored was proven to be the one that was kept.

        Raises Failure with the cure when it is gone, damaged, or sealed for keys that are not here.
        """
        sealed = target.with_name(target.name + ".sealed")
        try:
            await self._get(digest, sealed, noted)
            if not is_sealed(sealed):
                sealed.replace(target)
                return
            await asyncio.to_thread(unseal, sealed, target, self._keys(project, to_seal=False))
        except (NotOpened, Damaged, Corrupted) as error:
            finding = _unopened(error) if isinstance(error, NotOpened) else _damaged(str(error))
            raise Failure("the backup cannot be restored: it does not open", finding) from error
        except OSError as error:
            raise Retry(f"the backup cannot be opened in the work folder: {error.strerror}") from error
        finally:
            sealed.unlink(missing_ok=True)

    async def unopened(self, project: Project, kept: Sealed, folder: Path) -> Finding | None:
        """Read back what was kept, and open it as a roll-back would; a finding when that is not the dump."""
        again = folder / "again.sealed"
        try:
            await self._get(kept.file, again)
            if not is_sealed(again):
                return None
            found = await asyncio.to_thread(unseal, again, None, self._keys(project, to_seal=False))
        except NotOpened as error:
            return _unopened(error)
        except (Damaged, Corrupted) as error:
            return _damaged(str(error))
        except Failure as failure:
            return failure.outcome.findings[0]
        finally:
            again.unlink(missing_ok=True)
        return None if found == kept.plain else _damaged("it opens as another dump")

    async def rehearse(self, project: Project, scratch: Path) -> Finding | None:
        """Seal, keep, read back, open and delete a few bytes: store, credential and keys as a backup has."""
        async with self._sample(project, scratch) as (kept, folder):
            return await self.unopened(project, kept, folder)

    @asynccontextmanager
    async def _sample(self, project: Project, scratch: Path) -> AsyncIterator[tuple[Sealed, Path]]:
        async with temporary_folder(scratch, "sample") as folder:
            plain, sealed = folder / "sample", folder / "sample.sealed"
            plain.write_bytes(random.token_bytes(32))
            kept = await self.seal(project, plain, sealed)
            await self.put(sealed)
            try:
                yield kept, folder
            finally:
                await self.store.delete(kept.file)

    async def delete(self, digest: Digest, noted: str | None = None) -> None:
        """From every store, for good, today's last; a repetition changes nothing.

        Raises `Retry` also when the noted place seems to be another disk: the one that is away may have it.
        """
        today, *others = self._stores(noted)
        for place, store in (*others, today):
            if is_there(place, expected=place == noted):
                await store.delete(digest)

    async def _get(self, digest: Digest, path: Path, noted: str | None = None) -> None:
        away: Retry | None = None
        for place, store in self._stores(noted):
            try:
                if await taken_from(place, store, digest, path, expected=place == noted):
                    return
            except Retry as error:
                away = error
        if away is not None:
            raise away
        raise Failure("the backup cannot be restored: it is not kept any more", self.gone(digest))

    def gone(self, digest: Digest) -> Finding:
        """A finding: no store has it, and what is left to do."""
        detail = (
            f"No store has {digest}. Backups are deleted {self.keep_days:g} days after their Run has ended;"
            " the executor's journal of the Run says when, and in which place it was put."
        )
        cure = f"if the files lie elsewhere, name that place in UPGRADES_BACKUP_STORES_BEFORE; or {_WITHOUT}"
        return Finding(kind="data-loss", subject="backup", detail=detail, cure=cure)

    def _keys(self, project: Project, *, to_seal: bool = True) -> BackupKeys:
        try:
            keys = keys_of_project(self.secrets.of(project.id, "production"), self.keys)
        except (UnusableBackupKey, UnusableSecret) as error:
            raise Failure("the keys of backups cannot be used", _no_key(str(error))) from error
        if to_seal and not keys.recipients and not self.allow_unsealed:
            said = "No key seals a backup of production, and none is kept unsealed."
            raise Failure("there is no key for backups", _no_key(said))
        return keys


def _as_it_is(plain: Path, copy: Path) -> Sealed:
    with plain.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    copy.hardlink_to(plain)
    return Sealed(digest, digest)


def _no_key(detail: str) -> Finding:
    cure = (
        "make one with `upgradepath backup key` and set UPGRADES_BACKUP_KEY of the executor,"
        f" or the Project's secret {BACKUP_KEY}"
    )
    return Finding(kind="environment", subject="backup key", detail=detail, cure=cure)


def _unopened(error: NotOpened) -> Finding:
    detail = f"A backup made now could not be restored here: {error}."
    return Finding(kind="data-loss", subject="backup key", detail=detail, cure=_GIVE_KEY)


def _damaged(said: str) -> Finding:
    detail = f"The stored backup is not what was kept: {said}. Nothing was written to the database."
    cure = f"bring the file back from a copy of the backup store; or {_WITHOUT}"
    return Finding(kind="data-loss", subject="backup", detail=detail, cure=cure)
