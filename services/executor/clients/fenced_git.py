"""A Project's repository for the holder of one lease: once a newer token was here, its pushes are refused.

Expected commits alone do not keep out a worker that slept: where its successor found nothing to do, the
branch still stands where the sleeper saw it. So a ref of our own, the fence, moves in the same atomic push as
the branches, from where this worker left it; and whoever begins a stage moves it first.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from services.executor.clients.migration_table import FencingToken
from shared.clients.git import NO_TREE, Git, Moved, RefUpdate
from shared.clients.git_access import Access
from shared.contracts.values import Commit
from shared.errors import Failure, Retry, Stale

FENCE_REF = "refs/upgradepath/fence"
"""A commit of an empty tree; its subject is the fence, the generation, and a count of pushes."""


class FencedGit(Git):
    """`Git` whose pushes carry the fence. Every push raises `Stale` when a newer token was here."""

    def __init__(self, folder: Path, remote: str, access: Access) -> None:
        super().__init__(folder, remote, access)
        self._token: FencingToken = (0, 0)
        self._pushes = 0
        self._left_at: Commit | None = None

    @classmethod
    async def enter(cls, remote: str, folder: Path, token: FencingToken, access: Access) -> Self:
        """Open the clone and move the fence, so that no older token pushes from here on. Raises `Stale`."""
        opened = await cls.open(remote, folder, access)
        opened._token = token
        if await opened._look() != token:
            await opened.push(())
        return opened

    async def push(self, updates: Sequence[RefUpdate | tuple[str, Commit | None, Commit | None]]) -> None:
        """As `Git.push`; and the fence is where this worker left it."""
        wanted = [RefUpdate(*update) for update in updates]
        fence, generation = self._token
        subject = f"{fence} {generation} {self._pushes + 1}"
        moved_to = await self.commit(NO_TREE, [], subject, when=0)
        try:
            await super().push([*wanted, RefUpdate(FENCE_REF, moved_to, self._left_at)])
        except Moved as error:
            if error.ref != FENCE_REF:
                raise
            await self._look()
            # An older token passed at this moment, or a push of ours arrived that was given up.
            raise Retry(f"the fence of {self.remote} moved while we pushed") from error
        except (Failure, Retry):
            found = await self.refs(*(update.ref for update in wanted)) if wanted else {}
            if not wanted or any(found.get(update.ref) != update.new for update in wanted):
                raise
            return  # it was done before, by who held this job before
        self._pushes, self._left_at = self._pushes + 1, moved_to

    async def _look(self) -> FencingToken:
        """Learn where the fence is. Raises `Stale` when a newer token has moved it."""
        self._left_at = await self.ref(FENCE_REF)
        if self._left_at is None:
            return (0, 0)
        subject = (await self.objects.commit(self._left_at)).subject
        fence, generation, self._pushes = (int(number) for number in subject.split())
        if (fence, generation) > self._token:
            raise Stale(
                f"{FENCE_REF} of the repository says {fence}.{generation}, which is newer than"
                f" {self._token[0]}.{self._token[1]}"
            )
        return (fence, generation)
