"""Files by the sha256 of their bytes: packages, diffs, reports, logs, and sealed backups in a store apart."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from shared.contracts.values import Digest
from shared.crash_points import around
from shared.errors import Reject, Retry, not_found
from shared.private_files import keep_private, private_folder, private_folders

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ObjectStore

log = logging.getLogger(__name__)

_HASHED_AT_ONCE_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20


class Corrupted(Exception):
    """What lies under a digest has another digest."""

    def __init__(self, digest: Digest, found: Digest) -> None:
        super().__init__(f"the content store holds other bytes under {digest}: their digest is {found}")
        self.digest = digest
        self.found = found


class ContentStore:
    """A content-addressed store behind a URL: `file:///folder`, `memory:///`, `s3://bucket/prefix`, ….

    Methods raise `Retry` when the store cannot be asked, `Reject` (not-found) for a digest that it does
    not hold, and `Corrupted` for bytes that are not what they claim to be.

    `options` are what the store's client takes besides: a credential of its own, encryption by the server.
    In a folder every file has mode 0600 and every folder 0700, whatever the process's umask is.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._options: dict[str, Any] = dict(options or {})

    @cached_property
    def _store(self) -> "ObjectStore":
        # Not before the first file: its library is the largest of all, and a service at rest needs none.
        from obstore.store import LocalStore, MemoryStore, from_url

        parsed = urlsplit(self._url)
        if parsed.scheme == "memory":
            return MemoryStore()
        if parsed.scheme == "file":
            try:
                return LocalStore(private_folder(self._folder))
            except OSError as error:
                raise Retry(f"the content store's folder cannot be made: {error}") from error
        return from_url(self._url, **self._options)

    @property
    def _folder(self) -> Path:
        return Path(unquote(urlsplit(self._url).path))

    async def put(self, data: bytes) -> Digest:
        """Keep `data`. The same bytes again change nothing; other bytes under its digest are replaced."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        digest = await _digest(data)
        with _explained(digest, "does not take"):
            async with around("content-put"):
                with self._private(digest):
                    try:
                        await obstore.put_async(self._store, _key(digest), data, mode="create")
                    except AlreadyExistsError:
                        await self._mend(digest, data)
        return digest

    @contextmanager
    def _private(self, digest: Digest) -> Iterator[None]:
        """What the block puts into a folder is its owner's alone, from its first byte on."""
        if urlsplit(self._url).scheme != "file":
            yield
            return
        path = self._folder / _key(digest)
        try:
            private_folders(private_folder(self._folder), path.parent)
            yield
            keep_private(path)
        except OSError as error:
            raise Retry(f"the content store's folder cannot be written: {error}") from error

    async def _mend(self, digest: Digest, data: bytes) -> None:
        """Put our bytes where others stand: who may write to the store could else keep ours out for ever."""
        import obstore

        try:
            await self.get(digest)
        except Retry as error:
            # What is there is there: whoever reads it verifies it.
            log.warning("what the content store holds under %s could not be read: %s", digest, error)
        except (Corrupted, Reject) as found:
            log.warning("%s; our bytes are put there", found)
            await obstore.put_async(self._store, _key(digest), data)

    async def get(self, digest: Digest) -> bytes:
        """The bytes whose sha256 is `digest`."""
        import obstore

        with _explained(digest, "does not give"):
            async with around("content-get"):
                found = await obstore.get_async(self._store, _key(digest))
            data = bytes(await found.bytes_async())
        _verify(digest, await _digest(data))
        return data

    async def open(self, digest: Digest) -> tuple[int, AsyncIterator[bytes]]:
        """The size of what `get` would return, and its parts; the last one comes once all are verified."""
        import obstore

        with _explained(digest, "does not give"):
            async with around("content-get"):
                found = await obstore.get_async(self._store, _key(digest))
        return found.meta["size"], self._parts(digest, found)

    async def _parts(self, digest: Digest, found: "GetResult") -> AsyncIterator[bytes]:
        hashed, last = hashlib.sha256(), b""
        with _explained(digest, "does not give"):
            async for chunk in found.stream(min_chunk_size=_CHUNK_BYTES):
                yield last
                last = bytes(chunk)
                hashed.update(last)
        _verify(digest, hashed.hexdigest())
        yield last

    async def has(self, digest: Digest) -> bool:
        """Whether `get` would find something."""
        import obstore

        try:
            with _explained(digest, "does not say whether it has"):
                await obstore.head_async(self._store, _key(digest))
        except Reject:
            return False
        return True

    async def put_file(self, path: Path) -> Digest:
        """Keep a file of any size, in parts. Other bytes under its digest are replaced, as `put` does."""
        import obstore

        digest = await asyncio.to_thread(_digest_of, path)
        if await self._holds(digest):
            return digest
        with _explained(digest, "does not take"):
            async with around("content-put"):
                with self._private(digest):
                    await obstore.put_async(self._store, _key(digest), path)
        return digest

    async def _holds(self, digest: Digest) -> bool:
        """Whether these very bytes are there; what cannot be read now counts as there."""
        try:
            _, parts = await self.open(digest)
            async for _ in parts:
                pass
        except Corrupted as found:
            log.warning("%s; our bytes are put there", found)
            return False
        except Reject:
            return False
        except Retry as error:
            log.warning("what the content store holds under %s could not be read: %s", digest, error)
        return True

    async def delete(self, digest: Digest) -> None:
        """Take a file away, for good; one that is not there is as good as gone."""
        import obstore

        try:
            with _explained(digest, "does not take away"):
                async with around("content-delete"):
                    await obstore.delete_async(self._store, _key(digest))
        except Reject as missing:
            log.info("nothing was there to take away: %s", missing)

    async def get_to_file(self, digest: Digest, path: Path) -> None:
        """Write what `get` would return to `path`, in parts; `path` appears whole or not at all."""
        import obstore

        part = path.with_name(path.name + ".part")
        hashed = hashlib.sha256()
        try:
            with _explained(digest, "does not give"):
                async with around("content-get"):
                    found = await obstore.get_async(self._store, _key(digest))
                    with part.open("wb") as file:
                        async for chunk in found.stream(min_chunk_size=_CHUNK_BYTES):
                            hashed.update(chunk)
                            file.write(chunk)
            _verify(digest, hashed.hexdigest())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _explained(digest: Digest, what: str) -> Iterator[None]:
    """The store's errors as ours; `what` it does not do with the digest."""
    from obstore.exceptions import BaseError, NotFoundError

    try:
        yield
    except (NotFoundError, FileNotFoundError):
        raise _missing(digest) from None
    except BaseError as error:
        raise Retry(f"the content store {what} {digest}: {error}") from error


def _key(digest: Digest) -> str:
    # A folder of every file would be slow to list on a disk.
    return f"sha256/{digest[:2]}/{digest}"


def _verify(digest: Digest, found: Digest) -> None:
    if found != digest:
        raise Corrupted(digest, found)


def _missing(digest: Digest) -> Exception:
    return not_found(
        "the content store does not hold this",
        field="digest",
        value=digest,
        cure="upload the file first, or check that every service uses the same content store",
    )


async def _digest(data: bytes) -> Digest:
    if len(data) < _HASHED_AT_ONCE_BYTES:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())


def _digest_of(path: Path) -> Digest:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
