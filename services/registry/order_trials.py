"""Late migrations are tried in an empty database, outside every transaction: it may take minutes.

The gate's verdict is taken under a lock, and nobody who publishes anything else waits for a trial. So the
verdict names the trial that it lacks, the trial is made, and the verdict is taken anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import TypeAlias

from cachetools import LRUCache

from services.registry.domain.gate import Judgement, Library
from services.registry.schema_check import part_of
from shared.clients.content import ContentStore
from shared.contracts.refusals import Refusal
from shared.errors import Failure, Retry
from shared.packages.package import Package
from shared.versions import newest_first, satisfies

TRIALS_SETTING = "UPGRADES_SCRATCH_DATABASE_URL"
_TRIAL_S = 120.0
ASIDE_S = _TRIAL_S + 30
"""For so long nobody else checks a package of which orders are being tried."""
_KEPT = 100
_BESIDE_MAX = 5
"""Of a required System: its newest Releases that satisfy, and the oldest one."""
_NAMED = 10
_GROUNDS_MAX = 8
"""Together with the first, which has the newest of all."""

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


@dataclass(frozen=True)
class Ground:
    """Releases of the required Systems that a Project may have together: digests by System."""

    name: str
    packages: Mapping[str, str]


class NotTried(Exception):
    """A verdict lacks this trial; it can be taken once `OrderTrials.make` has made it."""

    def __init__(
        self, key: str, orders: tuple[Order, ...], grounds: Sequence[Ground], packages: Mapping[str, str]
    ) -> None:
        super().__init__("orders of migrations are not tried yet")
        self.key = key
        self.orders = orders
        self.grounds = grounds
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
        grounds, left_out = grounds_of(package.manifest.requires, library)
        key = sha256(repr((orders, [sorted(each.packages.items()) for each in grounds])).encode()).hexdigest()
        said = self._said.get(key)
        if said is None:
            raise NotTried(key, orders, grounds, library.packages)
        if said.reason is None:
            advice = (_left(grounds, left_out),) if left_out else ()
            return replace(judgement, refusals=(), advice=(*judgement.advice, *advice))
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
        before = {each.name: await self._required(untried.packages, each) for each in untried.grounds}
        try:
            async with asyncio.timeout(self._limit_s):
                said = await self._tried(before, untried.orders)
        except TimeoutError:
            said = Said(f"whether that matters was not found within {self._limit_s:g} s")
        except Failure as failure:
            cures = ", ".join(each.cure for each in failure.outcome.findings)
            said = Said(failure.outcome.reason, cures or None)
        except Retry as waits:
            raise TrialWaits(str(waits)) from waits
        self._said[untried.key] = said

    async def _tried(self, before: Mapping[str, Order], orders: Sequence[Order]) -> Said:
        """On each ground; of several with the same migrations on the first of them."""
        assert self._difference_of is not None, "asked for by a verdict that has it"
        seen: set[Order] = set()
        for name, ground in before.items():
            if ground in seen:
                continue
            first = not seen
            seen.add(ground)
            reason = await self._difference_of([ground + each for each in orders])
            if reason is not None and first:
                return Said(reason)
            if reason is not None:
                return Said(f"beside {name}, {reason}", f"take {name} out of [requires]")
        return Said(None)

    async def _required(self, packages: Mapping[str, str], ground: Ground) -> Order:
        """The migrations of these Releases, and of the newest that they require, these first."""
        found: dict[str, Order] = {}
        seen: set[str] = set()
        digests = {**packages, **ground.packages}

        async def add(systems: Sequence[str]) -> None:
            for system in systems:
                if system in digests and system not in seen:
                    seen.add(system)
                    part = await part_of(system, await self._content.get(digests[system]))
                    await add(part.requires)
                    found[system] = part.scripts

        await add(sorted(ground.packages))
        return tuple(migration for migrations in found.values() for migration in migrations)


def grounds_of(requires: Mapping[str, str], library: Library) -> tuple[tuple[Ground, ...], tuple[str, ...]]:
    """Releases beside which orders are tried, the newest of all first; and those that are left out.

    Each further ground has an older Release of one System. A System of which none satisfies has its newest.
    """
    newest: dict[str, str] = {}
    older: list[tuple[str, str, str]] = []
    left_out: list[str] = []
    for system, constraint in sorted(requires.items()):
        if system not in library.packages:
            continue
        offered = library.offered.get(system, {})
        fitting = [each for each in newest_first(offered) if satisfies(each, constraint)]
        chosen = fitting if len(fitting) <= _BESIDE_MAX else [*fitting[: _BESIDE_MAX - 1], fitting[-1]]
        newest[system] = offered[fitting[0]] if fitting else library.packages[system]
        older += [(system, each, offered[each]) for each in chosen[1:]]
        left_out += [f"{system} {each}" for each in fitting if each not in chosen]
    # The oldest of each System first: they differ most.
    older.sort(key=lambda each: newest_first(library.offered[each[0]]).index(each[1]), reverse=True)
    places = iter(older)
    grounds = [Ground("the newest Releases", newest)]
    for system, version, digest in islice(places, _GROUNDS_MAX - 1):
        grounds.append(Ground(f"{system} {version}", {**newest, system: digest}))
    left_out += [f"{system} {version}" for system, version, _ in places]
    return tuple(grounds), tuple(left_out)


def _left(grounds: Sequence[Ground], left_out: Sequence[str]) -> Refusal:
    """Advice on Releases beside which nobody has tried the order."""
    tried = ", ".join(each.name for each in grounds)
    others = ", ".join(left_out[:_NAMED])
    more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
    return Refusal(
        kind="invalid",
        reason=f"the late migrations are tried beside {tried}, and not beside {others}{more}",
        field="[requires]",
        cure="require newer Releases in system.toml, where a Project need not have older ones",
    )
