"""A question to the rows of a database, and the query that answers it. Pure."""

from dataclasses import dataclass

from services.executor.domain.one_pass import Counted
from services.executor.domain.readings import Reading
from services.executor.domain.relation import Relation
from shared.contracts.impact import Verdict


@dataclass(frozen=True)
class Question:
    """`sql` counts rows, and `verdict` is what it means when there are any. `tries` means that running it at
    all is the test: an error of the data is the verdict. Without SQL the answer is known to be not known."""

    text: str
    verdict: Verdict
    sql: str | None
    doubt: str | None = None
    tries: bool = False
    implied: bool = False
    """It comes with a rule that stands already, so it is worth a word only when rows break it."""
    counted: Counted | None = None
    """The same for a pass over the table that answers several questions, where that can be."""
    quick: str | None = None
    """SQL that costs less and gives 0 only if `sql` does."""
    computes: bool = False
    """The statement computes the same of the same rows, so that an error of the data is one of its own."""
    quiet: bool = False
    """That rows fit is not worth a word."""
    why: str = ""
    """With the verdict "unknown": why rows that are found decide nothing."""


def counting(
    reading: Reading,
    relation: Relation,
    text: str,
    condition: str,
    verdict: Verdict = "would fail",
    *,
    alias: str = "",
    computes: bool = False,
    why: str = "",
) -> Question:
    """How many of the relation's rows a condition is true of."""
    alias = alias or relation.alias
    sql = f"SELECT count(*) FROM {relation.source} AS {alias} WHERE {condition}"
    counted = Counted(relation.source, alias, condition)
    doubt = reading.doubt or relation.doubt_of(condition)
    return Question(text, verdict, reading.query(sql), doubt, counted=counted, computes=computes, why=why)


def computing(reading: Reading, relation: Relation, text: str, value: str) -> Question:
    """Whether a value can be computed of each of the relation's rows."""
    sql = f"SELECT count({value}) FROM {relation.source} AS {relation.alias}"
    counted = Counted(relation.source, relation.alias, value, values=True)
    doubt = reading.doubt or relation.doubt_of(value)
    return Question(text, "would fail", reading.query(sql), doubt, tries=True, counted=counted)
