"""Whether a query of a script can be computed over the rows as they would be by then. Pure."""

from typing import Any

from services.executor.domain.question import Question
from services.executor.domain.readings import Reading
from shared.sql.names import quoted
from shared.sql.raising import tables_read
from shared.sql.tree import below, inner, kind, statement_sql, strings

_ROW = quoted("upgradepath row")
_ACTS = frozenset({"nextval", "pg_sleep", "set_config", "lastval", "currval"})
"""They do or depend on something in the session or beside the rows."""
_SETVAL = "setval"
_COMPUTES = frozenset({"A_Expr", "TypeCast"})


def is_worth_asking(node: Any) -> bool:
    """Whether it reads rows or computes anything; a setting or a lock alone does neither."""
    kinds = {kind(each) for each in below(node)}
    return any(True for _ in tables_read(node)) or (bool(kinds & _COMPUTES) and not _acts(node))


def evaluated(reading: Reading, node: Any, text: str) -> Question:
    """Whether every row of the query can be computed; running it is the test."""
    doubt = reading.doubt_of(node)
    if _moves_sequences(node):
        return _numbers(reading, node, text, doubt)
    if _acts(node) or len(node.locking_clause):
        doubt = doubt or "it does more than read"
    if reading.casts_to_new(node):
        doubt = doubt or "a type of it has other values only then"
    # All of a row is counted, so that PostgreSQL leaves nothing of it uncomputed.
    sql = f"SELECT count({_ROW}) FROM ({statement_sql(reading.rewritten(node))}) AS {_ROW}"
    return Question(text, "would fail", reading.query(sql), doubt, tries=True)


def _called(node: Any) -> set[str]:
    return {strings(each.funcname)[-1].lower() for each in below(node) if kind(each) == "FuncCall"}


def _acts(node: Any) -> bool:
    called = _called(node)
    return bool(called & (_ACTS | {_SETVAL})) or any("advisory" in name for name in called)


def _moves_sequences(node: Any) -> bool:
    """Whether it is nothing but setval() of numbers, as scripts write it behind rows of their own."""
    targets = [inner(inner(each).val) for each in node.target_list]
    return bool(targets) and all(
        kind(each) == "FuncCall" and strings(each.funcname)[-1].lower() == _SETVAL and len(each.args) > 1
        for each in targets
    )


def _numbers(reading: Reading, node: Any, text: str, doubt: str | None) -> Question:
    """The same with each setval()'s number in its place: it must be one that a sequence can have."""
    read = type(node)()
    read.CopyFrom(node)
    for each in read.target_list:
        number = inner(inner(each).val).args[1]
        each.res_target.val.CopyFrom(number)
    if _acts(read):
        doubt = doubt or "it does more than read"
    names = [quoted(f"n{place}") for place in range(len(read.target_list))]
    below_one = " OR ".join(f"{name} < 1" for name in names)
    query = statement_sql(reading.rewritten(read))
    sql = f"SELECT count(*) FROM ({query}) AS {_ROW} ({', '.join(names)}) WHERE {below_one}"
    why = "a sequence begins at 1 unless it is told otherwise"
    return Question(text, "unknown", reading.query(sql), doubt, computes=True, why=why)
