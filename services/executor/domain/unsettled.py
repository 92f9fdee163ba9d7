"""Values that foretelling cannot compute: they depend on the session, on time or on the upgrade. Pure.

Questions are asked in a read-only transaction of another session. PostgreSQL itself says which of its
functions give the same for the same arguments; of the others, those that read nothing but arguments and
settings are named here, and no others are trusted.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from services.executor.domain.question import Question
from shared.sql.blocks import statements_of_block
from shared.sql.parsing import Unreadable, parse
from shared.sql.tree import below, inner, kind, strings

_BY_ARGUMENTS = """
    aclexplode array_to_json array_to_string concat concat_ws convert convert_from convert_to current_database
    date date_add date_part date_subtract date_trunc extract format format_type generate_series
    getdatabaseencoding length make_timestamptz money numeric overlaps pg_column_size pg_input_error_info
    pg_input_is_valid pg_typeof phraseto_tsquery plainto_tsquery quote_literal quote_nullable row_to_json time
    timestamp timestamptz timetz timezone to_char to_date to_json to_jsonb to_number to_timestamp to_tsquery
    to_tsvector ts_headline version websearch_to_tsquery xml xml_is_well_formed
"""
BY_ARGUMENTS = frozenset(_BY_ARGUMENTS.split())
"""Not immutable for PostgreSQL, yet both sessions give the same for the same arguments."""
CLOCKS = frozenset(
    {"age", "clock_timestamp", "now", "statement_timestamp", "timeofday", "transaction_timestamp"}
    | {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
)
"""A proof by the clock may be another one later."""
NEVER_TWICE = frozenset({"gen_random_bytes", "gen_random_uuid", "uuidv4", "uuidv7"})
"""Their values are never null and never there already."""
VALUE_SETTINGS = frozenset(
    {"array_nulls", "bytea_output", "datestyle", "default_text_search_config", "extra_float_digits"}
    | {"intervalstyle", "lc_monetary", "lc_numeric", "lc_time", "timezone", "transform_null_equals"}
    | {"xmlbinary", "xmloption"}
)
"""Settings that change how values are read, compared or printed."""
WORDS_OF_THE_SESSION = frozenset({"current_role", "current_user", "user", "session_user", "current_schema"})
_LITERAL = re.compile(r"E'(?:[^'\\]|\\.|'')*+'|'(?:[^']|'')*+'", re.IGNORECASE | re.DOTALL)
_CALLED = re.compile(r'(?<![\w$])([^\W\d][\w$]*+)"?\s{0,9}\(')
_WORD = re.compile(r'(?<![\w$".])([^\W\d][\w$]*+)(?![\w$".(])')
_MOMENT = re.compile(
    r"'\s{0,9}(?:now|today|tomorrow|yesterday)\b[^']{0,40}'::(?:pg_catalog\.)?(?:date|time)", re.IGNORECASE
)
_TOLD_AS_TEXT = re.compile(r"\([\w.]++(?:\(\))?\)::(?:text|name|varchar|character varying)")
"""A value of the session that any column of text takes."""
_READ_BY_SETTINGS = re.compile(
    r"(?<!NULL)(?<!NULL\))::(?!(?:pg_catalog\.)?(?:bigint|integer|int\d?|smallint|numeric|boolean|bool|uuid)\b)|''"
)
_OURS = frozenset({"concat", "pg_column_size"})
"""Our own questions call them."""
_MAKES_CODE = frozenset(
    {"AlterExtensionStmt", "AlterFunctionStmt", "AlterOperatorStmt", "CreateCastStmt"}
    | {"CreateExtensionStmt", "CreateFunctionStmt", "CreateOpClassStmt"}
)
_KINDS_OF_CODE = ("FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE", "OPERATOR", "CAST", "EXTENSION")
_OF_CODE = frozenset(f"OBJECT_{each}" for each in _KINDS_OF_CODE)


@dataclass
class Unsettled:
    """`functions`: the database's that may give something else in another session.

    `own`: functions, domains and views of no extension, outside the catalogue. `unsure` are words, names of
    views and domains, that use such a function. `settings` are VALUE_SETTINGS as they are now.
    """

    functions: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)
    by_settings: frozenset[str] = frozenset()
    """Functions that read settings beside their arguments."""
    operators: tuple[str, ...] = ()
    """Operators that call one of `functions`."""
    _made: set[str] = field(default_factory=set)
    _changed: str | None = None
    _elsewhere: bool = False
    """The script looks for plain names in other schemas than before."""

    def settled(self, question: Question) -> Question:
        """The question, with a doubt where its answer would be that of this session or of this moment."""
        if question.sql is None or question.doubt is not None:
            return question
        why = self._why(question)
        if why is None:
            return question
        # How many rows it writes is not known either, so nothing is counted.
        return replace(question, sql=None, counted=None, doubt=why)

    def keep_up(self, node: Any, schema: str) -> None:
        """Know of the functions that the statement makes, and of the settings that it changes."""
        for each in _statements(node):
            if (kind(each) in _MAKES_CODE or _drops_code(each)) and not _for_triggers(each):
                self._made |= _named(each)
            for name, value in _set_by(each):
                if name == "search_path":
                    path = schema if value is None else value.split(",")[0].strip(' "')
                    # Without a path every name has its schema beside it.
                    self._elsewhere = path not in (schema, "")
                elif name in VALUE_SETTINGS and (value or "").lower() != self.settings.get(name, "").lower():
                    self._changed = name

    def _why(self, question: Question) -> str | None:
        assert question.sql is not None
        if self._elsewhere:
            return "the script changes search_path, by which tables are found"
        plain = _LITERAL.sub("''", question.sql)
        called = {each.lower() for each in _CALLED.findall(plain)}
        words = {each.lower() for each in _WORD.findall(plain)}
        session = (called & self.functions) | (words & (WORDS_OF_THE_SESSION | self.unsure))
        operator = next((each for each in self.operators if each in plain), None)
        if operator is not None:
            return f"the operator {operator} calls a function that depends on more than its arguments"
        if session and not _takes_any(question):
            return f"{min(session)} depends on the session that runs it, or on more than its arguments"
        made = called & (self._made | (self.own if self._made else frozenset()))
        if made:
            return f"it calls {min(made)}(), and the upgrade changes functions"
        if self._changed and (_READ_BY_SETTINGS.search(plain) or called & (self.by_settings - _OURS)):
            return f"the script changes {self._changed}, by which values are read"
        return _of_the_moment(question)


def _takes_any(question: Question) -> bool:
    """True for a value that every row can have, whatever it is."""
    value = question.counted.expression if question.counted is not None else ""
    return question.tries and _TOLD_AS_TEXT.fullmatch(value) is not None


def mentioned(text: str) -> set[str]:
    """Every name that SQL calls, or writes as a word of its own; what stands in a literal is none."""
    plain = _LITERAL.sub("''", text)
    return {each.lower() for each in (*_CALLED.findall(plain), *_WORD.findall(plain))}


def _of_the_moment(question: Question) -> str | None:
    """A rule that asks the clock; which rows an UPDATE takes is told of this moment, as all rows are."""
    if question.verdict != "would fail" or question.counted is None or question.counted.values:
        return None
    asked = mentioned(question.counted.expression) & CLOCKS
    if asked or _MOMENT.search(question.counted.expression):
        return f"{min(asked, default='the clock')} gives something else when it runs"
    return None


def _statements(node: Any) -> Iterator[Any]:
    """The statement, or those that a DO block holds."""
    yield node
    if kind(node) != "DoStmt":
        return
    given = {inner(each).defname: inner(inner(each).arg).sval for each in node.args}
    if given.get("language", "plpgsql") != "plpgsql":
        return
    for text in statements_of_block(given.get("as", ""))[0]:
        try:
            yield from (each.node for each in parse(text))
        except (Unreadable, ValueError):
            continue


def _drops_code(node: Any) -> bool:
    """True when it drops, renames or moves a function, or what calls one for others."""
    for name in ("remove_type", "rename_type", "object_type"):
        if name in node.DESCRIPTOR.fields_by_name:
            value = node.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number[getattr(node, name)]
            return value.name in _OF_CODE
    return False


def _for_triggers(node: Any) -> bool:
    """True when it makes a function that no expression can call."""
    if kind(node) != "CreateFunctionStmt" or not node.HasField("return_type"):
        return False
    return strings(node.return_type.names)[-1] in ("trigger", "event_trigger")


def _named(node: Any) -> set[str]:
    """Names that the statement says of functions; an empty one at least."""
    if kind(node) == "CreateFunctionStmt":
        return {strings(node.funcname)[-1].lower()}
    names = {strings(each.objname)[-1].lower() for each in below(node) if kind(each) == "ObjectWithArgs"}
    return names | ({node.newname.lower()} if "newname" in node.DESCRIPTOR.fields_by_name else set()) or {""}


def _set_by(node: Any) -> Iterator[tuple[str, str | None]]:
    """Settings of the session that it sets, with the value where that is a constant."""
    if kind(node) == "VariableSetStmt":
        yield node.name.lower(), _constant(node.args)
    for each in below(node):
        if kind(each) == "FuncCall" and strings(each.funcname)[-1].lower() == "set_config" and each.args:
            name = _constant(each.args[:1])
            for setting in VALUE_SETTINGS if name is None else (name.lower(),):
                yield setting, _constant(each.args[1:2])


def _constant(nodes: Any) -> str | None:
    found = [inner(each) for each in nodes]
    if not found or any(kind(each) != "A_Const" or not each.HasField("sval") for each in found):
        return None
    return ", ".join(each.sval.sval for each in found)
