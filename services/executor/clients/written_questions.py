"""Questions of an upgrade to rows, written out in a child: the deparser is C, and lets nothing else run."""

from collections.abc import Mapping, Sequence

from services.executor.clients.reading import read_in_child
from services.executor.domain.question import Question
from services.executor.domain.questions import Asker
from services.executor.domain.relation import Step
from shared.sql.script import Statement, read_statements

_AT_ONCE = 200
"""Statements of one reading: each has its own share of CPU time."""
_SUBJECT = "the statements of the migrations"


async def questions_of(
    asker: Asker, statements: Sequence[Statement]
) -> tuple[list[tuple[Question, ...]], Mapping[str, Step | str]]:
    """Each statement's questions, in their order, and what the sources are that they name."""
    given = [(each.text, each.schema) for each in statements]
    found: list[tuple[Question, ...]] = []
    for start in range(0, len(given), _AT_ONCE):
        part = given[start : start + _AT_ONCE]
        asked, asker = await read_in_child(_SUBJECT, ask_all, asker, part)
        found += asked
    return found, asker.relations.steps


def ask_all(asker: Asker, statements: Sequence[tuple[str, str]]) -> tuple[list[tuple[Question, ...]], Asker]:
    """The questions of statements, text and schema of each, and the asker after them: a child calls it."""
    asked: list[tuple[Question, ...]] = []
    for text, schema in statements:
        (statement,) = read_statements(text, schema)
        asked.append(asker.of(statement))
    return asked, asker
