"""What every stage may use."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from services.executor.clients.backup_store import BackupStore
from services.executor.clients.fenced_git import FencedGit
from services.executor.stages.backup_trials import BackupTrials
from shared.clients.content import ContentStore
from shared.clients.git import Git
from shared.clients.project_repository import access_for, clone_name, repository_taken
from shared.clients.secrets import Secrets
from shared.contracts.freezes import Freeze
from shared.contracts.releases import ReleaseSignature
from shared.contracts.stages import Finding
from shared.contracts.tasks import Upgrade
from shared.contracts.values import Digest
from shared.errors import Failure, Reject, Retry
from shared.isolation.choosing import Isolation
from shared.jobs.job import Job
from shared.packages.package import Package, nothing_of, read_package
from shared.prisma.parser import PrismaSchema
from shared.reading.twice import read_twice
from shared.repository_urls import KNOWN_HOSTS, PUBLIC_ONLY, RepositoryRules
from shared.signing.envelope import Unproven
from shared.signing.releases import Named
from shared.signing.trust import ALLOW_UNSIGNED, TRUSTS_NOBODY, NotThere, Trust


@dataclass(frozen=True)
class Packages:
    """The package that a Project pins and the one that it moves to; an empty one stands for none."""

    upgrade: Upgrade
    old: Package
    new: Package

    @property
    def target(self) -> str:
        """The version that it moves to, or `removed`."""
        return self.upgrade.to_version or "removed"

    @property
    def title(self) -> str:
        upgrade = self.upgrade
        if upgrade.from_version is None:
            return f"Add {upgrade.system} {upgrade.to_version}"
        if upgrade.to_version is None:
            return f"Remove {upgrade.system} {upgrade.from_version}"
        return f"Upgrade {upgrade.system} {upgrade.from_version} to {upgrade.to_version}"


def _target(upgrade: Upgrade) -> Named | None:
    """The package that it moves to; none of a System that is removed."""
    if upgrade.to_version is None or upgrade.to_package is None:
        return None
    return Named(upgrade.system, upgrade.to_version, upgrade.to_package)


async def never_frozen() -> Freeze | None:
    """Deploys may start."""
    return None


@dataclass(frozen=True)
class Tools:
    """The doors of a worker; `folder` is scratch and may vanish between two stages."""

    content: ContentStore
    secrets: Secrets
    folder: Path
    backups: BackupStore
    freeze: Callable[[], Awaitable[Freeze | None]] = never_frozen
    """What forbids deploys to start now."""
    prisma: PrismaSchema = field(default_factory=PrismaSchema)
    repositories: RepositoryRules = PUBLIC_ONLY
    known_hosts: Path = KNOWN_HOSTS
    isolation: Isolation = field(default_factory=Isolation.here)
    trials: BackupTrials = field(default_factory=BackupTrials)
    trust: Trust = TRUSTS_NOBODY
    """Whose packages are used."""

    @property
    def clones(self) -> Path:
        """Where the clones of Projects lie."""
        return self.folder / "git"

    async def git(self, job: Job) -> Git:
        """The Project's clone, up to date with its remote; who held this stage before pushes no more."""
        remote = job.project.repository
        clone = self.clones / clone_name(job.project)
        with repository_taken():
            access = access_for(job.project, self.secrets, self.repositories, self.known_hosts)
            if job.stage == "review":
                # It writes nothing, and disturbs nobody who does.
                return await Git.open(remote, clone, access)
            return await FencedGit.enter(remote, clone, job.fencing_token, access)

    async def new_package(self, upgrade: Upgrade) -> Package:
        """The package that it moves to. Raises `Failure` for one that is not proven, or cannot be read."""
        named = _target(upgrade)
        if named is None:
            return nothing_of(upgrade.system)
        await self.require_proven(upgrade)
        return await self._read(named)

    async def require_proven(self, upgrade: Upgrade) -> None:
        """Raise `Failure` unless the Library signed the package that it moves to, or it may be unsigned."""
        named = _target(upgrade)
        if named is None:
            return
        cure = (
            "let the Systems Library publish a higher version that is signed, and plan that one"
            if upgrade.to_signature is not None
            else "let the Systems Library publish a higher version that is signed, and plan that; or, once"
            f" you know who made these bytes, {_allow(named)}"
        )
        await self._require_proven(named, upgrade.to_signature, cure)

    async def _require_base(self, named: Named, signature: ReleaseSignature | None) -> None:
        """Raise `Failure` unless the pinned package is proven; allowed by digest, a Project can leave it."""
        if self.trust.unsigned.names(named.package):
            return
        why = (
            "a Release never changes, so it cannot be signed any more"
            if signature is None
            else "its signature does not count any more"
        )
        cure = f"{why}: once you know that these bytes are what the Project runs, {_allow(named)}"
        await self._require_proven(named, signature, cure)

    async def _require_proven(self, named: Named, signature: ReleaseSignature | None, cure: str) -> None:
        try:
            await self.trust.require(named, signature, self.content)
        except NotThere as error:
            # Whoever keeps the store can help, as with a package that is not there.
            raise Retry(f"{named.system} {named.version}: {error}") from error
        except Unproven as error:
            name = f"{named.system} {named.version}"
            finding = Finding(kind="package", subject=name, detail=str(error), cure=cure)
            raise Failure(f"the package of {name} is not proven: {error}", finding) from error

    async def _package(self, digest: Digest) -> Package:
        """A package from the content store. Raises `Failure` for one that cannot be read."""
        data = await self.content.get(digest)
        try:
            return await read_twice(f"package {digest}", read_package, data)
        except Reject as rejected:
            raise Failure(
                f"package {digest} cannot be read",
                *(
                    Finding(
                        kind="package",
                        subject=refusal.field or digest,
                        detail=refusal.reason,
                        cure=refusal.cure,
                    )
                    for refusal in rejected.refusals
                ),
            ) from None

    async def packages(self, upgrade: Upgrade) -> Packages:
        """Both packages of an upgrade, which must be what the upgrade says. Raises `Failure`."""
        pinned = None
        if upgrade.from_version is not None and upgrade.from_package is not None:
            pinned = Named(upgrade.system, upgrade.from_version, upgrade.from_package)
            await self._require_base(pinned, upgrade.from_signature)
        await self.require_proven(upgrade)
        # Of a System that the Project has not it is one without anything.
        old = nothing_of(upgrade.system) if pinned is None else await self._read(pinned)
        named = _target(upgrade)
        new = nothing_of(upgrade.system) if named is None else await self._read(named)
        return Packages(upgrade, old, new)

    async def _read(self, named: Named) -> Package:
        """A package that is what its name says. Raises `Failure`."""
        package = await self._package(named.package)
        found, wanted = f"{package.system} {package.manifest.version}", f"{named.system} {named.version}"
        if found != wanted:
            finding = Finding(
                kind="package",
                subject=wanted,
                detail=f"package {named.package} is {found}",
                cure="request a new plan",
            )
            raise Failure(f"the package of {wanted} is {found}", finding)
        return package


def _allow(named: Named) -> str:
    return (
        f"name package {named.package} in {ALLOW_UNSIGNED} of the executor; then request a new plan, or"
        " `upgradepath run continue` where the Run waits"
    )
