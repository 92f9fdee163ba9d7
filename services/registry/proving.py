"""A package's migrations tried against its fragment, where a server is configured; else said to be open."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from cachetools import LRUCache

from services.registry.domain.gate import Judgement, Library
from services.registry.schema_check import SchemaCheck
from shared.contracts.refusals import Refusal
from shared.contracts.values import Digest
from shared.packages.package import SCHEMA, Package
from shared.prisma.parser import InvalidSchema

Scripts: TypeAlias = Sequence[tuple[str, str]]
Trial: TypeAlias = tuple[Literal["made", "unmade", "unknown"], str]
TrialOf: TypeAlias = Callable[[Scripts, Scripts, Mapping[str, str], Mapping[str, str]], Awaitable[Trial]]
"""Migrations, those of the Systems before it, the whole schema, and the others' part of it."""

_REMEMBERED = 256
_TRIES_MAX = 3
_MOVES = "the Library changed each time while it was tried"
_NOT_HERE = "the Library's own checks alone are tried"
_LATER = "each Run's migrate stage proves it, and fails where it is not so"


class NotProven(Exception):
    """A verdict lacks this trial; it can be taken once `FragmentProof.make` has made it."""

    def __init__(self, key: tuple[object, ...], package: Package, library: Library) -> None:
        super().__init__("the migrations have not been tried against the fragment yet")
        self.key = key
        self.package = package
        self.published = library


class FragmentProof:
    """Says of a package whether its migrations make its fragment. The same bytes are tried once."""

    def __init__(self, schemas: SchemaCheck, trial_of: TrialOf | None) -> None:
        self._schemas = schemas
        self._trial_of = trial_of
        self._known: LRUCache[tuple[object, ...], Trial] = LRUCache(_REMEMBERED)
        self._tries: LRUCache[object, int] = LRUCache(_REMEMBERED)
        """Of packages whose trials no verdict has used yet."""

    def judged(
        self, digest: Digest, package: Package, library: Library, judgement: Judgement, *, proves: bool = True
    ) -> Judgement:
        """The judgement with a refusal, or with advice where nobody can tell.

        Raises `NotProven` where it `proves`, as long as the Library leaves a trial the time that it takes.
        """
        # SQL that was refused is run nowhere.
        if judgement.refusals or not (package.schema.strip() or package.migrations):
            return judgement
        if self._trial_of is None:
            words = "no server for trials is configured (UPGRADES_SCRATCH_DATABASE_URL)"
            return replace(judgement, advice=(*judgement.advice, _open(words)))
        key = (digest, *sorted(library.packages.items()))
        if key not in self._known:
            if proves and self._tries.get(digest, 0) < _TRIES_MAX:
                raise NotProven(key, package, library)
            return replace(judgement, advice=(*judgement.advice, _open(_MOVES if proves else _NOT_HERE)))
        self._tries.pop(digest, None)
        answer, words = self._known[key]
        match answer:
            case "made":
                return judgement
            case "unmade":
                return replace(judgement, refusals=(_unmade(words, judgement.change),))
            case "unknown":
                # It may be known at another time.
                del self._known[key]
                return replace(judgement, advice=(*judgement.advice, _open(words)))

    async def make(self, untried: "NotProven") -> None:
        """Try it. Raises `Retry` for packages that cannot be had now."""
        assert self._trial_of is not None, "asked for by a verdict that has it"
        self._known[untried.key] = await self._tried(self._trial_of, untried.package, untried.published)
        digest = untried.key[0]
        self._tries[digest] = self._tries.get(digest, 0) + 1

    async def _tried(self, trial_of: TrialOf, package: Package, library: Library) -> Trial:
        try:
            beside = await self._schemas.beside(package, library)
        except InvalidSchema as invalid:
            return "unknown", f"beside the Systems that it refers to: {invalid}"
        if beside is None:
            return "unknown", "the Systems that it refers to refer to each other in a circle"
        own = [(migration.name, migration.sql) for migration in package.migrations]
        return await trial_of(own, beside.scripts_of_others, beside.files, beside.files_of_others)


def _unmade(words: str, change: str) -> Refusal:
    minor = "; a patch brings no migration, so publish it as a minor version" if change == "patch" else ""
    return Refusal(
        kind="invalid",
        reason=f"the migrations do not make the schema fragment: {words}",
        field=SCHEMA,
        cure="write a new migration that does the rest, or take out of the fragment what no migration makes"
        f"{minor}; `upgradepath schema diff OLD NEW` prints its SQL",
    )


def _open(words: str) -> Refusal:
    return Refusal(
        kind="invalid",
        reason=f"nobody has proven that the migrations make the schema fragment: {words}",
        field=SCHEMA,
        cure=_LATER,
    )
