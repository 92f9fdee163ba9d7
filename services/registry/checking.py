"""The gate as a job: packages are checked one after another, outside every handler."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from services.registry.domain.gate import Judgement, Library, misnamed
from services.registry.domain.history import package_migrations
from services.registry.handlers import published_alike
from services.registry.order_trials import (
    ASIDE_S,
    TRIALS_SETTING,
    DifferenceOf,
    NotTried,
    OrderTrials,
    TrialWaits,
)
from services.registry.proving import FragmentProof, NotProven, TrialOf
from services.registry.reading import PackageReader
from services.registry.schema_check import SchemaCheck
from services.registry.signatures import SignatureCheck
from services.registry.store import PackageCheck, RegistryTransaction
from shared import background
from shared.clients.content import ContentStore
from shared.contracts.envelope import release_trace
from shared.contracts.refusals import CommandRefused, Refusal
from shared.contracts.releases import PublishRelease, Release, ReleasePublished, ReleaseSignature
from shared.contracts.values import Digest
from shared.errors import Reject, Retry, invalid, told
from shared.messaging.inbox import Verdict
from shared.packages.package import SCHEMA, Package
from shared.storage.database import Database, is_passing

log = logging.getLogger(__name__)

_POLL_S = 1.0
_ATTEMPTS_MAX = 5
_DELAY_MAX_S = 60.0
_AT_ONCE = 2


async def _stays() -> bool:
    return False


@dataclass(frozen=True)
class ReadPackage:
    """A package without its files' contents, and the whole verdict on it, given what was published before."""

    outline: Package
    judged: Callable[[Library], Awaitable[Judgement]]


class PackageGate:
    """Works off the `package_checks`. A crash leaves its row queued; checking again is harmless."""

    def __init__(
        self,
        database: Database[RegistryTransaction],
        content: ContentStore,
        difference_of: DifferenceOf | None = None,
        trial_of: TrialOf | None = None,
        signatures: SignatureCheck | None = None,
    ) -> None:
        """Without `signatures` it takes no package."""
        self.database = database
        self.content = content
        self._signatures = signatures or SignatureCheck(content)
        self.schemas = SchemaCheck(content)
        self.packages = PackageReader(database)
        self._trials = OrderTrials(content, difference_of)
        self._proof = FragmentProof(self.schemas, trial_of)
        self._wake = asyncio.Event()
        self._finished = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def read(self, actor: str, digest: Digest, data: bytes, *, proves: bool = True) -> "ReadPackage":
        """The package, read for this actor. Raises `Reject`. Its migrations are tried where it `proves`."""
        outline = await self.packages.outline(actor, digest, data)

        async def judged(library: Library) -> Judgement:
            judgement = await self.packages.judge(actor, digest, data, library)
            if proves:
                judgement = self._trials.judged(outline, library, judgement)
            # A fragment that is in dispute already is not looked at again.
            if any(refusal.field == SCHEMA for refusal in judgement.refusals):
                return judgement
            found = await self.schemas.refusals(outline, library)
            judgement = replace(judgement, refusals=(*judgement.refusals, *found))
            return self._proof.judged(digest, outline, library, judgement, proves=proves)

        return ReadPackage(outline, judged)

    async def foresee(self, command: PublishRelease, read: "ReadPackage") -> Judgement:
        """The judgement that `publish` would come to now; nothing is changed."""
        while True:
            try:
                async with self.database.transaction() as tx:
                    return await _foreseen(command, read, tx)
            except (NotTried, NotProven) as untried:
                lacking = untried
            await self._make(lacking)

    async def _make(self, untried: NotTried | NotProven) -> None:
        """Make the trial that a verdict lacks, outside every transaction."""
        await (self._proof.make(untried) if isinstance(untried, NotProven) else self._trials.make(untried))

    def wake(self) -> None:
        self._wake.set()

    async def start(self) -> None:
        # While one tries orders of migrations, the other checks what else there is.
        self._tasks = [asyncio.create_task(self._run(), name=f"package gate {n}") for n in range(_AT_ONCE)]

    async def stop(self) -> None:
        for task in self._tasks:
            await background.end(task)

    async def verdict(
        self, source: str, message_id: str, deadline_s: float, gone: Callable[[], Awaitable[bool]] = _stays
    ) -> Verdict | None:
        """The verdict on this PublishRelease; None if it is not known within `deadline_s`.

        The wait is over, too, when who asked is `gone`.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        while True:
            finished = self._finished
            async with self.database.transaction() as tx:
                verdict = await tx.check_verdict(source, message_id)
            left_s = end - loop.time()
            if verdict is not None or left_s <= 0 or await gone():
                return verdict
            # Another process may be the one that checks it: so never wait for our own gate alone.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, _POLL_S)):
                    await finished.wait()

    async def check_next(self) -> bool:
        """Check one package; False when none is due."""
        check = None
        try:
            try:
                async with self.database.transaction() as tx:
                    check = await tx.next_check()
                    if check is None:
                        return False
                    await self._check(check, tx)
            except (NotTried, NotProven) as untried:
                if check is None:
                    raise
                await self._try(check, untried)
                return True
        except Exception as error:
            if check is None or is_passing(error):
                raise
            await self._put_off(check, error)
        self._tell_waiters()
        return True

    async def _try(self, check: PackageCheck, untried: NotTried | NotProven) -> None:
        """Make the trial that the verdict lacks; then the check is due again."""
        # Nobody else tries the same meanwhile. After a crash it is anybody's, a little later.
        async with self.database.transaction() as tx:
            await tx.set_check_aside(check.id, ASIDE_S)
        await self._make(untried)
        async with self.database.transaction() as tx:
            await tx.set_check_aside(check.id, 0)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                while await self.check_next():
                    pass
            except Exception as error:
                if not is_passing(error):
                    log.exception("packages are not checked")
                else:
                    log.warning("packages are not checked, the database does not answer: %r", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()

    async def _check(self, check: PackageCheck, tx: RegistryTransaction) -> None:
        command = check.command
        tx.caused_by(check.cause)
        try:
            # Before a byte of it is read.
            signature = await self._signatures.verified(command, tx.now)
            data = await self.content.get(command.package)
            read = await self.read(command.actor.id, command.package, data)
            event, advice = await publish(command, read, signature, tx)
        except Reject as rejection:
            await _refuse(check, rejection, tx)
        else:
            await tx.finish_check(check.id, Verdict(event.model_dump(mode="json"), advice=advice))

    async def _put_off(self, check: PackageCheck, error: Exception) -> None:
        """Try again later. What is wrong with the package itself is not tried for ever."""
        log.warning("the check of a package of %s errored", check.command.system, exc_info=error)
        async with self.database.transaction(check.cause) as tx:
            # Without a server for trials a late migration is refused: so it is when that stays away.
            waits = isinstance(error, Retry) and not isinstance(error, TrialWaits)
            if waits or check.attempts + 1 < _ATTEMPTS_MAX:
                await tx.postpone_check(check.id, min(2.0**check.attempts, _DELAY_MAX_S))
                return
            await _refuse(check, _unchecked(check, error), tx)

    def _tell_waiters(self) -> None:
        self._finished.set()
        self._finished = asyncio.Event()


def _unchecked(check: PackageCheck, error: Exception) -> Reject:
    if isinstance(error, TrialWaits):
        return invalid(
            f"a migration that stands before a published one could not be tried: {error}",
            field=TRIALS_SETTING,
            value=check.command.package,
            cure=f"give the migration a later timestamp; or let the server of {TRIALS_SETTING} answer, and"
            " publish the package again",
        )
    return invalid(
        f"the package cannot be checked: {type(error).__name__}: {told(error)}",
        field="package",
        value=check.command.package,
        cure="pack it anew and publish that; tell an SRE if it is refused like this again",
    )


async def _refuse(check: PackageCheck, rejection: Reject, tx: RegistryTransaction) -> None:
    command, cause = check.command, check.cause
    refused = CommandRefused(
        command=cause.type, command_id=cause.id, subject=command.system, refusals=rejection.refusals
    )
    tx.send(refused, topic=command.answers)
    await tx.finish_check(check.id, Verdict(refusals=rejection.refusals))


async def publish(
    command: PublishRelease, read: ReadPackage, signature: ReleaseSignature | None, tx: RegistryTransaction
) -> tuple[ReleasePublished, tuple[Refusal, ...]]:
    """Save and announce the Release, unless it is out; with advice. Raises `Reject` with every refusal."""
    # Two Systems must not define the same model at the same moment: one verdict after the other.
    await tx.lock("library", "gate")
    await tx.lock("system", command.system)
    if (known := await published_alike(command, tx)) is not None:
        return known, ()
    package = read.outline
    if other := misnamed(package, command.system, command.version):
        raise Reject(*other)
    judgement = await read.judged(await tx.library_of(command.system))
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


async def _foreseen(command: PublishRelease, read: ReadPackage, tx: RegistryTransaction) -> Judgement:
    judgement = await read.judged(await tx.library_of(command.system))
    try:
        known = await published_alike(command, tx)
    except Reject as rejection:
        return replace(judgement, refusals=rejection.refusals)
    return judgement if known is None else Judgement(known.change, ())
