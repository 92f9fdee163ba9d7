"""The gate as a job: packages are checked one after another, outside every handler."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

from services.registry.domain.gate import Judgement, Library
from services.registry.order_trials import (
    ASIDE_S,
    TRIALS_SETTING,
    DifferenceOf,
    NotTried,
    OrderTrials,
    TrialWaits,
)
from services.registry.proving import FragmentProof, NotProven, TrialOf
from services.registry.publishing import LibraryMoved, ReadPackage, foreseen, publish
from services.registry.reading import PackageReader
from services.registry.schema_check import SchemaCheck
from services.registry.signatures import SignatureCheck
from services.registry.store import PackageCheck, RegistryTransaction
from services.registry.verdict_notes import note_verdict
from shared import background
from shared.clients.content import ContentStore
from shared.contracts.refusals import CommandRefused
from shared.contracts.releases import PublishRelease
from shared.contracts.values import Digest
from shared.errors import Reject, Retry, invalid, told
from shared.messaging.inbox import Verdict
from shared.packages.package import SCHEMA
from shared.queueing import Queues
from shared.storage.database import Database, is_passing

log = logging.getLogger(__name__)

_POLL_S = 1.0
_ATTEMPTS_MAX = 5
_DELAY_MAX_S = 60.0
_AT_ONCE = 2
_READING_S = 600
"""A package is read several times, each time in its turn; a process that hangs keeps it no longer."""
_TRIALS_WAIT_MAX = 4
"""Of one actor: who publishes more at once is told to come back."""


async def _stays() -> bool:
    return False


@dataclass(frozen=True)
class _Taken:
    """A check that was taken, and the trial that its verdict lacks."""

    check: PackageCheck
    lacks: NotTried | NotProven | None = None


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
        self.signatures = signatures or SignatureCheck(content)
        self.schemas = SchemaCheck(content)
        self.packages = PackageReader(database)
        self._trials = OrderTrials(content, difference_of)
        self._proof = FragmentProof(self.schemas, trial_of)
        self._wake = asyncio.Event()
        self._finished = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._trying: set[asyncio.Task[None]] = set()
        self._turns = Queues("packages wait for a trial", _TRIALS_WAIT_MAX)
        self._places = asyncio.Semaphore(_AT_ONCE)

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
            async with self.database.transaction() as tx:
                library = await tx.library_of(command.system)
            try:
                judgement = await read.judged(library)
            except (NotTried, NotProven) as lacking:
                async with self._place(command.actor.id):
                    await self._make(lacking)
                continue
            async with self.database.transaction() as tx:
                return await foreseen(command, judgement, tx)

    @contextlib.asynccontextmanager
    async def _place(self, actor: str) -> AsyncIterator[None]:
        """A place for a trial: one for each actor, and two at all. Raises `Retry` when too many wait."""
        async with self._turns.turn(actor), self._places:
            yield

    async def _make(self, lacking: NotTried | NotProven) -> None:
        """Make the trial that a verdict lacks, outside every transaction."""
        await (self._proof.make(lacking) if isinstance(lacking, NotProven) else self._trials.make(lacking))

    def wake(self) -> None:
        self._wake.set()

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run(), name=f"package gate {n}") for n in range(_AT_ONCE)]

    async def stop(self) -> None:
        for task in (*self._tasks, *self._trying):
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
        """Check one package, with the trial that it needs; False when none is due."""
        taken = await self._take()
        if taken is None:
            return False
        if taken.lacks is not None:
            await self._try(taken.check, taken.lacks)
        return True

    async def _take(self) -> _Taken | None:
        """Check one package, as far as that needs no trial; none when none is due."""
        check = None
        try:
            try:
                async with self.database.transaction() as tx:
                    check = await tx.next_check()
                    if check is None:
                        return None
                    await self._check(check, tx)
            except (NotTried, NotProven) as lacking:
                if check is None:
                    raise
                # Nobody else tries the same meanwhile. After a crash it is anybody's, a little later.
                async with self.database.transaction() as tx:
                    await tx.set_check_aside(check.id, ASIDE_S)
                return _Taken(check, lacking)
        except Exception as error:
            if check is None or is_passing(error):
                raise
            await self._put_off(check, error)
        self._tell_waiters()
        return _Taken(check)

    async def _try(self, check: PackageCheck, lacking: NotTried | NotProven) -> None:
        """Make the trial that the verdict lacks; then the check is due again."""
        try:
            async with self._place(check.command.actor.id):
                async with self.database.transaction() as tx:
                    await tx.set_check_aside(check.id, ASIDE_S)
                await self._make(lacking)
            async with self.database.transaction() as tx:
                await tx.set_check_aside(check.id, 0)
        except Exception as error:
            if is_passing(error):
                raise
            await self._put_off(check, error)
            self._tell_waiters()

    async def _try_beside(self, check: PackageCheck, lacking: NotTried | NotProven) -> None:
        """A trial while others' packages are checked; however it ends, the check comes back by itself."""
        try:
            await self._try(check, lacking)
        except Exception as error:
            log.warning("the trial of a package of %s did not end: %r", check.command.system, error)
        self.wake()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                while (taken := await self._take()) is not None:
                    if taken.lacks is not None:
                        trying = asyncio.create_task(self._try_beside(taken.check, taken.lacks))
                        self._trying.add(trying)
                        trying.add_done_callback(self._trying.discard)
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
            signature = await self.signatures.verified(command, tx.now)
            # The check is ours for as long as its package may be read; the gate's lock is not taken yet.
            await tx.wait_idle(_READING_S)
            data = await self.content.get(command.package)
            read = await self.read(command.actor.id, command.package, data)
            while True:
                async with self.database.transaction() as other:
                    library = await other.library_of(command.system)
                await read.judged(library)
                await tx.wait_idle(None)
                try:
                    async with tx.session.begin_nested():
                        event, advice = await publish(command, read, signature, tx)
                    break
                except LibraryMoved:
                    await tx.wait_idle(_READING_S)
        except Reject as rejection:
            await _refuse(check, rejection, tx)
        else:
            await tx.finish_check(check.id, Verdict(event.model_dump(mode="json"), advice=advice))
            note_verdict(check, tx)

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
    note_verdict(check, tx, rejection.refusals)
