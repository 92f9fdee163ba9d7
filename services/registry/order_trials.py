"""Late migrations are tried in an empty database, outside every transaction: it may take minutes.

The gate's verdict is taken under a lock, and nobody who publishes anything else waits for a trial. So the
verdict names the trial that it lacks, the trial is made, and the verdict is taken anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeAlias

from cachetools import LRUCache

from services.registry.domain.gate import Judgement, Library
from services.registry.schema_check import part_of
from shared.clients.content import ContentStore
from shared.errors import Failure, Retry
from shared.packages.package import Package

TRIALS_SETTING = "UPGRADES_SCRATCH_DATABASE_URL"
_TRIAL_S = 120.0
ASIDE_S = _TRIAL_S + 30
"""For so long nobody else checks a package of which orders are being tried."""
_KEPT = 100

Order: TypeAlias = tuple[tuple[str, str], ...]
"""Migrations in the order in which they are applied, names with their SQL."""
DifferenceOf: TypeAlias = Callable[[Sequence[Order]], Awaitable[str | None]]
"""Asks if orders of migrations make the same schema: none, or why not.

Raises `Failure` with the cure when the server is not fit for it, `Retry` when it cannot be asked now.
"""


@dataclass(frozen=True)
class Said:
    """Of one trial: why the order counts, none when it does not; a cure where the server lacks something."""

    reason: str | None
    cure: str | None = None


class NotTried(Exception):
    """A verdict lacks this trial; it can be taken once `OrderTrials.make` has made it."""

    def __init__(
        self, key: str, orders: tuple[Order, ...], requires: Sequence[str], packages: Mapping[str, str]
    ) -> None:
        super().__init__("orders of migrations are not tried yet")
        self.key = key
        self.orders = orders
        self.requires = requires
        self.packages = packages


class TrialWaits(Retry):
    """The server for trials does not answer."""


class OrderTrials:
    """Trials that were made. Without `difference_of` late migrations are refused untried."""

    def __init__(
        self, content: ContentStore, difference_of: DifferenceOf | None, *, limit_s: float = _TRIAL_S
    ) -> None:
        self._content = content
        self._difference_of = difference_of
        self._limit_s = limit_s
        self._said: LRUCache[str, Said] = LRUCache(_KEPT)

    def judged(self, package: Package, library: Library, judgement: Judgement) -> Judgement:
        """The judgement with late migrations tried, once nothing else is wrong with them.

        Raises `NotTried`. A refusal is used once: by then a server that lacked something may have it. That an
        order does not count stays true, while other trials of the same package are made.
        """
        others = any(each not in judgement.late for each in judgement.refusals)
        if not judgement.late or others or self._difference_of is None:
            return judgement
        sql = {migration.name: migration.sql for migration in package.migrations}
        orders = tuple(tuple((name, sql[name]) for name in each) for each in judgement.orders)
        requires = sorted(package.manifest.requires)
        required = [library.packages.get(system) for system in requires]
        key = sha256(repr((orders, required)).encode()).hexdigest()
        said = self._said.get(key)
        if said is None:
            raise NotTried(key, orders, requires, library.packages)
        if said.reason is None:
            return replace(judgement, refusals=())
        del self._said[key]
        told = [
            each.model_copy(
                update={
                    "reason": f"{each.reason}; {said.reason}",
                    "cure": f"{said.cure}, or {each.cure}" if said.cure else each.cure,
                }
            )
            for each in judgement.late
        ]
        return replace(judgement, refusals=tuple(told))

    async def make(self, untried: NotTried) -> None:
        """Try the orders, each after the migrations of the Systems that the package requires.

        Raises `TrialWaits` when the server does not answer, `Retry` when a package cannot be read now.
        """
        assert self._difference_of is not None, "asked for by a verdict that has it"
        before = await self._required(untried.packages, untried.requires)
        try:
            async with asyncio.timeout(self._limit_s):
                said = Said(await self._difference_of([before + each for each in untried.orders]))
        except TimeoutError:
            said = Said(f"whether that matters was not found within {self._limit_s:g} s")
        except Failure as failure:
            cures = ", ".join(each.cure for each in failure.outcome.findings)
            said = Said(failure.outcome.reason, cures or None)
        except Retry as waits:
            raise TrialWaits(str(waits)) from waits
        self._said[untried.key] = said

    async def _required(self, packages: Mapping[str, str], requires: Sequence[str]) -> Order:
        """The migrations of these Systems' newest Releases, and of those that they require, these first."""
        found: dict[str, Order] = {}
        seen: set[str] = set()

        async def add(systems: Sequence[str]) -> None:
            for system in systems:
                if system in packages and system not in seen:
                    seen.add(system)
                    part = await part_of(system, await self._content.get(packages[system]))
                    await add(part.requires)
                    found[system] = part.scripts

        await add(sorted(requires))
        return tuple(migration for migrations in found.values() for migration in migrations)
