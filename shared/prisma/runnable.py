"""What Prisma's differ prints without a database, made into SQL that runs, or refused by its line. Pure.

Without a database the differ knows no sequence's name, writes `SERIAL` where a type stands, quotes no quote,
and uses a new value of an enum in the migration that adds it, which PostgreSQL forbids.
"""

import re
from collections.abc import Sequence

from shared.prisma.engine import EngineError

_NAME_BYTES_MAX = 63
_SERIAL = re.compile(r'(ALTER COLUMN ("[^"]+") SET DATA TYPE )(BIG|SMALL|)SERIAL\b')
_INTEGERS = {"BIG": "BIGINT", "SMALL": "SMALLINT", "": "INTEGER"}
_NO_SEQUENCE = 'DROP SEQUENCE ""'
_TABLE = re.compile(r'ALTER TABLE (?:("[^"]+")\.)?"([^"]+)"')
_WITHOUT_DEFAULT = re.compile(r'ALTER COLUMN "([^"]+)" DROP DEFAULT')
_NEW_VALUE = re.compile(r"^ALTER TYPE (?>.*? ADD VALUE ')((?:[^']++|'')*+)'", re.MULTILINE)
_NEW_COLUMN = re.compile(r'ADD COLUMN\s+"([^"]+)"([^\n]*)')
_HAS_A_VALUE = re.compile(r"\bDEFAULT\b|SERIAL\b")
_EXTENSION = re.compile(r"\bCITEXT\b")
_TWO = """-- These are two migrations: a new value of an enum can be used once it has been committed.
-- Migration 1 of 2
"""
_SECOND = """
-- Migration 2 of 2: in a folder of its own, which runs after the first one is committed
"""


def runnable(sql: str) -> str:
    """The script, as one migration or, marked in it, as two. Raises `EngineError` for what cannot be SQL."""
    # PostgreSQL's parser takes much memory: it comes with the first script.
    from shared.sql.parsing import Unreadable
    from shared.sql.script import read_statements

    if not sql.strip():
        return sql
    try:
        statements = read_statements(sql)
    except Unreadable as error:
        if _NO_SEQUENCE not in sql:
            raise EngineError(
                f"Prisma's differ prints SQL for this that PostgreSQL does not read, line {error.fault.line}:"
                f" {error.fault.reason}; a quote in a name is not written as one: rename it"
            ) from None
        # That name is no name; the rest is read when it has one.
        return runnable(_with_sequences(sql))
    texts, at = [], 0
    for each in statements:
        texts.append(sql[at : each.after])
        at = each.after
    texts = [_foretold(_with_types(text)) for text in texts]
    texts[-1] += sql[at:]
    return _in_order(texts)


def _with_sequences(sql: str) -> str:
    """The sequences that go, by the names that PostgreSQL has given to them."""
    found, at = "", 0
    for place in re.finditer(re.escape(_NO_SEQUENCE), sql):
        before = sql[at : place.start()]
        table, columns = list(_TABLE.finditer(before)), _WITHOUT_DEFAULT.findall(before)
        if not table or not columns:
            raise EngineError("Prisma's differ drops a sequence here and does not know its name")
        column = columns[-1]
        found += before + f"DROP SEQUENCE IF EXISTS {_sequence(table[-1], column)}"
        at = place.end()
    return found + sql[at:]


def _sequence(table: re.Match[str], column: str) -> str:
    """As PostgreSQL shortens it: the longer of both names gives way."""
    first, second = table[2].encode(), column.encode()
    while len(first) + len(second) + len("__seq") > _NAME_BYTES_MAX:
        first, second = (first[:-1], second) if len(first) > len(second) else (first, second[:-1])
    name = f'"{first.decode(errors="ignore")}_{second.decode(errors="ignore")}_seq"'
    return name if table[1] is None else f"{table[1]}.{name}"


def _with_types(text: str) -> str:
    table = _TABLE.search(text)
    sequences = [
        f"\nALTER SEQUENCE IF EXISTS {_sequence(table, found[2].strip(chr(34)))} AS {_INTEGERS[found[3]]};"
        for found in _SERIAL.finditer(text)
        if table is not None
    ]
    return _SERIAL.sub(lambda found: found[1] + _INTEGERS[found[3]], text) + "".join(sequences)


def _foretold(text: str) -> str:
    """With a word where existing rows make it fail."""
    table = _TABLE.search(text)
    new = _NEW_COLUMN.findall(text) if table is not None else []
    columns = [name for name, rest in new if " NOT NULL" in rest and not _HAS_A_VALUE.search(rest)]
    if not columns:
        return text
    named = ", ".join(columns)
    start = text.index("ALTER TABLE")
    word = f"-- It fails where there are rows: they would have no value in {named}. Give a default.\n"
    return text[:start] + word + text[start:]


def _in_order(texts: Sequence[str]) -> str:
    values = {text: _NEW_VALUE.search(text) for text in texts}
    new = [found[1] for found in values.values() if found]
    rest = [text for text in texts if not values[text]]
    needs = "CREATE EXTENSION IF NOT EXISTS citext;\n\n" if any(map(_EXTENSION.search, texts)) else ""
    if not any(f"'{value}'" in text for value in new for text in rest):
        return needs + "".join(texts)
    first = "".join(text for text in texts if values[text])
    return needs + _TWO + first.strip("\n") + "\n" + _SECOND + "".join(rest).lstrip("\n")


def migrations_of(script: str) -> tuple[str, ...]:
    """The migrations that a script of `runnable` is."""
    return tuple(script.split(_SECOND, 1))
