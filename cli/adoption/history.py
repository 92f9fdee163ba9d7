"""Which of the Systems' migrations a Project's own history holds already. Pure.

A folder stands for one migration: one that was added back by the same statements is another migration, and
needs a folder of its own. A folder with several migrations in it stands for each by that one's statements.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shared.adopted import Adopted
from shared.contracts.values import SystemName
from shared.packages.package import Migration, Package
from shared.sql.parsing import Unreadable
from shared.sql.script import read_statements

# Each goes to its end, also where that is missing: so that no text is gone through twice.
_LITERAL = r"""'(?:[^']++|'')*+'?|"(?:[^"]++|"")*+"?|\$(?P<tag>\w*+)\$.*?(?:\$(?P=tag)\$|\Z)"""
_LAYOUT = re.compile(rf"(?P<literal>{_LITERAL})|(?:--[^\n]*+|/\*.*?(?:\*/|\Z)|\s++)++", re.DOTALL)
_REPEATABLE = re.compile(r"CREATE\b.{0,60}?\bIF NOT EXISTS\b", re.IGNORECASE)
_STAMP = re.compile(r"^\d+_")

How = Literal["same file", "same statements", "within", "your word"]


@dataclass(frozen=True)
class Found:
    """A migration of a System, and how it is known to be in the Project."""

    migration: Adopted
    how: How


@dataclass(frozen=True)
class History:
    """What was found of one System, and the migrations of which nothing was."""

    found: tuple[Found, ...]
    missing: tuple[Migration, ...]


def find_migrations(
    packages: Collection[Package], folders: Mapping[str, str], confirmed: Sequence[str]
) -> dict[SystemName, History]:
    """Look for each migration among `folders` (name to SQL): the same text, the same statements, or a folder
    that has all of them among others. Each statement of a folder counts once.

    `confirmed` names those (`system/name`) that are applied although no folder shows it, on somebody's word.
    """
    search = _Search(folders)
    wanted = [(each.system, migration) for each in packages for migration in each.migrations]
    # Two with the same statements are told apart by their names before either is looked for elsewhere.
    for named in (str.__eq__, _same_title, None):
        for system, migration in wanted:
            search.look(system, migration, named)
    return {each.system: _history(each, search, confirmed) for each in packages}


def _history(package: Package, search: "_Search", confirmed: Sequence[str]) -> History:
    found: list[Found] = []
    missing: list[Migration] = []
    for migration in package.migrations:
        seen = search.found.get((package.system, migration.name))
        if seen is None and f"{package.system}/{migration.name}" in confirmed:
            seen = ("", "your word")
        if seen is None:
            missing.append(migration)
            continue
        folder, how = seen
        known = Adopted(
            system=package.system, name=migration.name, checksum=migration.checksum, folder=folder
        )
        found.append(Found(known, how))
    return History(tuple(found), tuple(missing))


class _Search:
    """What has been found, and what of each folder nobody has claimed yet."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self.found: dict[tuple[SystemName, str], tuple[str, How]] = {}
        self._texts = {name: _plain(folders[name]) for name in sorted(folders)}
        self._statements = {name: statements_of(sql) for name, sql in self._texts.items()}
        self._left = {name: Counter(each) for name, each in self._statements.items()}
        self._repeatable: dict[tuple[SystemName, str], Counter[str]] = {}

    def look(
        self, system: SystemName, migration: Migration, named: Callable[[str, str], bool] | None
    ) -> None:
        """Claim the first folder that has the migration; with `named`, of those whose name fits alone."""
        if (system, migration.name) in self.found:
            return
        wanted = statements_of(_plain(migration.sql))
        if not wanted:
            # `prisma migrate dev --create-only` leaves such behind: there is nothing that could be missing.
            self.found[system, migration.name] = ("", "within")
            return
        fitting = [each for each in self._texts if named is None or named(each, migration.name)]
        for folder, how in self._alike(migration, wanted, fitting):
            if self._claim(system, folder, wanted):
                self.found[system, migration.name] = (folder, how)
                return

    def _alike(
        self, migration: Migration, wanted: Sequence[str], folders: Sequence[str]
    ) -> Iterator[tuple[str, How]]:
        same = [each for each in folders if self._texts[each] == _plain(migration.sql)]
        yield from ((each, "same file") for each in same)
        alike = [each for each in folders if each not in same and self._statements[each] == wanted]
        yield from ((each, "same statements") for each in alike)
        yield from ((each, "within") for each in folders if each not in (*same, *alike))

    def _claim(self, system: SystemName, folder: str, wanted: Sequence[str]) -> bool:
        # Another System may ask for the same extension; the same System, twice, has dropped it in between.
        own = self._repeatable.setdefault((system, folder), Counter(self._statements[folder]))
        needed = {each: (own if _REPEATABLE.match(each) else self._left[folder]) for each in wanted}
        if any(left[each] < wanted.count(each) for each, left in needed.items()):
            return False
        for each in wanted:
            needed[each][each] -= 1
        return True


def _same_title(folder: str, name: str) -> bool:
    return _STAMP.sub("", folder) == _STAMP.sub("", name)


def _plain(sql: str) -> str:
    """Without a mark of byte order, and with one kind of line ends: Git may have changed them."""
    return sql.removeprefix("\ufeff").replace("\r\n", "\n")


def statements_of(sql: str) -> list[str]:
    """The statements without comments and layout, so that a reformatted file is the same."""
    try:
        texts = [statement.text for statement in read_statements(sql)]
    except Unreadable:
        texts = [sql]
    return [_LAYOUT.sub(lambda found: found["literal"] or " ", text).strip() for text in texts]
