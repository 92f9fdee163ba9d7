"""Packages read in a child, and how often that was tried: written down before each try.

A package that ends its reader, or this process, is given up after two tries, and the refusal names the file.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from services.registry.domain.gate import Judgement, Library, judge
from services.registry.store import RegistryTransaction
from shared.contracts.values import Digest
from shared.errors import invalid
from shared.packages.package import Package, read_package
from shared.reading.readers import ReaderEnded, Readers, readers
from shared.storage.database import Database

log = logging.getLogger(__name__)

TRIES_MAX = 2
_T = TypeVar("_T")


def read_outline(data: bytes) -> Package:
    """The package without the contents of its files, which nobody here asks for."""
    return without_contents(read_package(data))


def judge_package(data: bytes, library: Library) -> Judgement:
    """The gate's verdict on these bytes."""
    return judge(read_package(data), library)


def without_contents(package: Package) -> Package:
    return replace(package, files={path: (mode, b"") for path, (mode, _) in package.files.items()})


class PackageReader:
    """Reads for one actor at a time. Both raise `Reject`, and `Retry` when too much waits."""

    def __init__(
        self, database: Database[RegistryTransaction], children: Callable[[], Readers] = readers
    ) -> None:
        self._database = database
        self._children = children

    async def outline(self, actor: str, digest: Digest, data: bytes) -> Package:
        return await self._counted(actor, digest, read_outline, data)

    async def judge(self, actor: str, digest: Digest, data: bytes, library: Library) -> Judgement:
        return await self._counted(actor, digest, judge_package, data, library)

    async def _counted(
        self, actor: str, digest: Digest, function: Callable[..., _T], *arguments: object
    ) -> _T:
        async with self._children().turn(actor) as call:
            while True:
                async with self._database.transaction() as tx:
                    tries, file = await tx.begin_reading(digest, actor)
                if tries > TRIES_MAX:
                    raise invalid(
                        f"reading {file or 'it'} ended the reader twice",
                        field=file or "package",
                        value=digest,
                        cure="make this file smaller or simpler, and pack the package again",
                    )
                try:
                    value = await call(function, *arguments)
                except ReaderEnded as ended:
                    log.warning("package %s of %s: the reader %s", digest, actor, ended)
                    async with self._database.transaction() as tx:
                        await tx.reading_ended(digest, actor, ended.file)
                    continue
                except BaseException:
                    await self._done(actor, digest)
                    raise
                await self._done(actor, digest)
                return value

    async def _done(self, actor: str, digest: Digest) -> None:
        async with self._database.transaction() as tx:
            await tx.end_reading(digest, actor)
