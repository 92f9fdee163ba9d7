"""Which of a System's migrations a Project's own history holds already. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shared.adopted import Adopted
from shared.packages.package import Migration, Package
from shared.sql.parsing import Unreadable
from shared.sql.script import read_statements

_LITERAL = r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$"""
_LAYOUT = re.compile(rf"(?P<literal>{_LITERAL})|(?:--[^\n]*|/\*.*?\*/|\s)+", re.DOTALL)

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


def find_migrations(package: Package, folders: Mapping[str, str], confirmed: Sequence[str]) -> History:
    """Look for each migration among `folders` (name to SQL): the same text, the same statements, or a folder
    that has all of them among others.

    `confirmed` names those (`system/name`) that are applied although no folder shows it, on somebody's word.
    """
    statements = {folder: _statements(sql) for folder, sql in folders.items()}
    found: list[Found] = []
    missing: list[Migration] = []
    for migration in package.migrations:
        seen = _look(migration, folders, statements)
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


def _look(
    migration: Migration, folders: Mapping[str, str], statements: Mapping[str, Sequence[str]]
) -> tuple[str, How] | None:
    for folder, sql in folders.items():
        if sql == migration.sql:
            return folder, "same file"
    wanted = _statements(migration.sql)
    if not wanted:
        # `prisma migrate dev --create-only` leaves such behind: there is nothing that could be missing.
        return "", "within"
    for folder, there in statements.items():
        if there == wanted:
            return folder, "same statements"
    for folder, there in statements.items():
        if wanted and set(wanted) <= set(there):
            return folder, "within"
    return None


def _statements(sql: str) -> list[str]:
    """The statements without comments and layout, so that a reformatted file is the same."""
    try:
        texts = [statement.text for statement in read_statements(sql)]
    except Unreadable:
        texts = [sql]
    return [_LAYOUT.sub(lambda found: found["literal"] or " ", text).strip() for text in texts]
