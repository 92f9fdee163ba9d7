"""Rows that PostgreSQL's errors quote, kept out of logs, answers and dead letters: these travel far."""

import re
from typing import Any

_WRONG_DATA = "22"
_WRONG_NAMES = "42"
# What a cast to regclass and its kind looks up while rows are read.
_LOOKED_UP = ("42P01", "42602", "42703", "42704", "42883", "3F000")
_QUOTED = re.compile(r'".*"', re.DOTALL)
_QUOTED_NAME = re.compile(r'"([^"]*)"')
# As the driver and psql print it: Key (email)=(ann@example.org) already exists.
_DETAIL = re.compile(r"\s?+\bDETAIL:  .*+", re.DOTALL)
# A value may have lines of its own, so the next field, or a traceback's next words, ends it.
_DETAIL_LINES = re.compile(
    r"\bDETAIL:  .*?(?=\n(?:HINT|CONTEXT|QUERY|STATEMENT|LOCATION):  |\n\[SQL: |\n\(Background |\nTraceback "
    r"|\n\nThe above |\n\nDuring handling |\Z)",
    re.DOTALL,
)
_OWN_WORDS = "the script raised an error in its own words, which may quote rows"
_MADE_UP = "a statement that the script put together was refused, which may quote rows"


def words(error: Any, script: str = "") -> str:
    """The server's words in an asyncpg error, with nothing that can be a value of a row: they travel far.

    The detail is left out, as are what a message of wrong data quotes (`"ann" is no integer`), what a script
    of the user's own raises, and names that are not written in `script`: they may be made of a row's values.
    """
    message, code = str(error.args[0]), error.sqlstate
    if getattr(error, "server_source_function", None) == "exec_stmt_raise":
        return f"{_OWN_WORDS} ({code})"
    if code.startswith(_WRONG_DATA):
        message = _QUOTED.sub('"…"', message)
    made = getattr(error, "internal_query", None)
    if code.startswith(_WRONG_NAMES) and made is not None and made.strip() not in script:
        return f"{_MADE_UP} ({code})"
    # What stands in the statement has a place there; what is looked up while it runs has none.
    looked_up = code in _LOOKED_UP and not getattr(error, "position", None)
    if looked_up and any(name not in script for name in _QUOTED_NAME.findall(message)):
        message = _QUOTED.sub('"…"', message)
    return f"{message} ({code})"


def forget_rows(error: BaseException) -> None:
    """Leave in an error, and in all that led to it, only what may be said anywhere."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        _forget(each)
        # SQLAlchemy keeps the driver's error and the statement's values beside the words.
        waiting += [each.__cause__, each.__context__, getattr(each, "orig", None)]
        waiting += getattr(each, "exceptions", ())
        waiting += each.args


def without_details(text: str) -> str:
    """A text in which somebody has put such an error already."""
    return _DETAIL_LINES.sub("DETAIL:  ***", text) if "DETAIL:  " in text else text


def _forget(error: BaseException) -> None:
    if type(error).__module__.startswith("asyncpg.") and getattr(error, "sqlstate", None):
        said = words(error).removesuffix(f" ({error.sqlstate})")  # type: ignore[attr-defined]
        for name in ("detail", "hint", "context", "query", "internal_query"):
            if getattr(error, name, None) is not None:
                setattr(error, name, None)
        error.message = said  # type: ignore[attr-defined]  # as the driver made it
        error.args = (said,)
        return
    if isinstance(getattr(error, "hide_parameters", None), bool):
        error.hide_parameters = True  # type: ignore[attr-defined]
    if any(isinstance(part, str) and "DETAIL:  " in part for part in error.args):
        error.args = tuple(_DETAIL.sub("", part) if isinstance(part, str) else part for part in error.args)
