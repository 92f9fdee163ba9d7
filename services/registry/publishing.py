"""The verdict on a package: judged ahead of the gate's lock, and taken under it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from services.registry.domain.gate import Judgement, Library, misnamed
from services.registry.domain.history import package_migrations
from services.registry.handlers import published_alike
from services.registry.store import RegistryTransaction
from shared.contracts.envelope import release_trace
from shared.contracts.refusals import Refusal
from shared.contracts.releases import PublishRelease, Release, ReleasePublished, ReleaseSignature
from shared.errors import Reject
from shared.packages.package import Package

_AHEAD_MAX = 3


class LibraryMoved(Exception):
    """The Library is not the one for which the package was judged: judge it again, then come back."""


@dataclass
class ReadPackage:
    """A package without its files' contents, and the whole verdict on it, given what was published before."""

    outline: Package
    judge: Callable[[Library], Awaitable[Judgement]]
    _judged: tuple[Library, Judgement] | None = None
    _tries: int = field(default=0)

    async def judged(self, library: Library) -> Judgement:
        """The judgement beside this Library; it may take as long as a reading, and the same again nothing."""
        if self._judged is None or self._judged[0] != library:
            self._tries += 1
            self._judged = (library, await self.judge(library))
        return self._judged[1]

    async def at_once(self, library: Library) -> Judgement:
        """The judgement for whoever holds the gate's lock, and so keeps all others waiting.

        Raises `LibraryMoved` when it would have to be made first, unless that has happened often.
        """
        known = self._judged is not None and self._judged[0] == library
        if not known and self._tries < _AHEAD_MAX:
            raise LibraryMoved
        return await self.judged(library)


async def publish(
    command: PublishRelease, read: ReadPackage, signature: ReleaseSignature | None, tx: RegistryTransaction
) -> tuple[ReleasePublished, tuple[Refusal, ...]]:
    """Save and announce the Release, unless it is out; with advice.

    Raises `Reject` with every refusal, `LibraryMoved` when it must be judged again first.
    """
    # Two Systems must not define the same model at the same moment: one verdict after the other.
    await tx.lock("library", "gate")
    await tx.lock("system", command.system)
    if (known := await published_alike(command, tx)) is not None:
        return known, ()
    package = read.outline
    if other := misnamed(package, command.system, command.version):
        raise Reject(*other)
    judgement = await read.at_once(await tx.library_of(command.system))
    if judgement.refusals:
        raise Reject(*judgement.refusals)
    manifest = package.manifest
    event = ReleasePublished(
        release=Release(
            system=command.system,
            version=command.version,
            package=command.package,
            summary=manifest.summary,
            required=manifest.required,
            breaking=manifest.breaking,
            requires=manifest.requires,
            migrations=package_migrations(package),
            published_at=tx.now,
            published_by=command.actor.id,
            signature=signature,
        ),
        change=judgement.change,
        revision=await tx.next_revision(command.system),
    )
    await tx.add_release(event, package)
    tx.send(event, traceparent=release_trace(command.system, command.version))
    return event, judgement.advice


async def foreseen(command: PublishRelease, judgement: Judgement, tx: RegistryTransaction) -> Judgement:
    """The judgement, or the refusal of a version that is out with other bytes."""
    try:
        known = await published_alike(command, tx)
    except Reject as rejection:
        return replace(judgement, refusals=rejection.refusals)
    return judgement if known is None else Judgement(known.change, ())
