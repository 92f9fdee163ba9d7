"""Why a function must not be called, or a setting set, by what is given to it. Pure."""

from collections.abc import Iterator
from typing import Any

from postgast import pg_query_pb2

from shared.sql.concerns import INSIDE, LEAVE_OUT
from shared.sql.made_text import NOTHING, made_text, number_of
from shared.sql.outward import (
    BY_ARGUMENTS,
    FUNCTION_SCHEMAS,
    FUNCTIONS,
    IMPLICIT_TARGETS,
    NAMING_FUNCTIONS,
    OTHER_PARAMETERS,
    OUR_LOCKS,
    OUR_NAMES,
    READERS_OF_NAMES,
    SECRET_RELATIONS,
    SETTING_VALUES,
    SETTINGS,
)  # fmt: skip
from shared.sql.settable import is_settable, is_unknown_of_server
from shared.sql.tree import inner, kind, strings

Refused = Iterator[tuple[str, str]]
"""Reasons with their cures."""
_AROUND_NAMES = ' \t\n\r\f\v"'
"""What the server passes over where a text names something."""


def refused_function(names: tuple[str, ...]) -> Refused:
    """Of a function by its name, perhaps with its schema."""
    if len(names) > 1 and names[-2] in FUNCTION_SCHEMAS:
        yield f"calls a function of {names[-2]}: it acts outside this database or later", INSIDE
    for each in names:
        if each in FUNCTIONS:
            yield f"calls {each}(): {FUNCTIONS[each]}", LEAVE_OUT


def refused_unseen(names: tuple[str, ...]) -> Refused:
    """Of a function that is named where others call it, so that nobody sees here what is given to it."""
    yield from refused_function(names)
    name = names[-1] if names else ""
    locks = name.startswith("pg_") and "advisory" in name
    if name in BY_ARGUMENTS or name.startswith(("pgr_", "pg_sleep")) or locks:
        yield f"{name}() is named where it gets arguments that nobody sees", f"write a call: {name}(…)"


def refused_call(node: Any) -> Refused:
    """Of a `FuncCall`, by its schema and its arguments."""
    names = strings(node.funcname)
    found = list(refused_function(names))
    yield from found
    if not found and is_unknown_of_server(names):
        cure = "leave it out, or write its schema before the name where it is the Project's own"
        yield f"calls {names[-1]}(): no function of the server of that name is known to stay inside", cure
    if names[-1] == "connectby" and not all(map(_is_a_name, node.args[:3])):
        yield "connectby() makes SQL of what it is given", "give it plain names of a table and its columns"
    if names[-1] == "set_config" and node.args:
        yield from _refused_set_config(node)
    if names[-1] not in READERS_OF_NAMES and any(map(is_ours, node.args)):
        yield f"{OUR_NAMES['upgradepath']}, and _prisma_migrations is Prisma's", "leave them alone"
    if names[-1] in NAMING_FUNCTIONS:
        yield from _refused_naming(node, names[-1])
    if names[-1].startswith("pg_") and "advisory" in names[-1] and len(node.args) == 1:
        if number_of(value_of(node.args[0])) in OUR_LOCKS:
            yield f"{names[-1]}() of a lock under which migrations run", "choose another number"
        elif "unlock" in names[-1] and kind(value_of(node.args[0])) in ("A_Expr", "SubLink", "CaseExpr"):
            yield (
                f"{names[-1]}() of a number that is made while it runs",
                "name the lock as when it was taken",
            )


def value_of(argument: Any) -> Any:
    """One argument of a call, given by its place or by a name."""
    node = inner(argument)
    return inner(node.arg) if kind(node) == "NamedArgExpr" else node


def is_run(argument: Any, place: int, at: int | None) -> bool:
    """True when a function that runs what it gets at the place `at` as SQL runs this argument."""
    if kind(argument) == "NamedArgExpr":
        return at is not None and argument.name not in OTHER_PARAMETERS
    return place == at


def argument_of(node: Any, place: int, *names: str) -> Any | None:
    """The argument for the parameter that has this place or one of these names.

    None where it gives none, or an array of which nobody sees the parts.
    """
    if node.func_variadic:
        return None
    by_place = []
    for each in map(inner, node.args):
        if kind(each) != "NamedArgExpr":
            by_place.append(each)
        elif each.name in names:
            return inner(each.arg)
    return by_place[place] if place < len(by_place) else None


def _refused_set_config(node: Any) -> Refused:
    name, value = argument_of(node, 0, "setting_name"), argument_of(node, 1, "new_value")
    setting = NOTHING if name is None else made_text(name)
    if not setting.whole:
        # A name that only running it tells may be any.
        yield "set_config() of a setting that is named only while it runs", "name it by a constant"
    yield from refused_setting(setting.text.lower(), [] if value is None else [made_text(value).text])


def _refused_naming(node: Any, name: str) -> Refused:
    """Of a function that reads all of a table or a schema, which a text names to it."""
    named = argument_of(node, 0, "tbl", "schema")
    parts = [] if named is None else _named(named)
    if not parts or any(each.isdecimal() for each in parts):
        # A number is a table of the server's as well as any.
        yield f"{name}() of what is named only while it runs, or by a number", "name it by a constant text"
        return
    of_schema = name.startswith("schema_") and (parts[0] in ("information_schema", "pg_toast"))
    if parts[0] == "pg_catalog" or parts[-1] in SECRET_RELATIONS or of_schema:
        yield f"{name}() reads what is not the Project's", LEAVE_OUT


def refused_cast(node: Any) -> Refused:
    if not node.HasField("func") and not node.inout:
        yield (
            "a cast WITHOUT FUNCTION takes bytes of one type for another's",
            "write WITH FUNCTION or WITH INOUT",
        )
    if node.context == pg_query_pb2.COERCION_IMPLICIT and (
        IMPLICIT_TARGETS.intersection(strings(node.targettype.names)[-1:])
    ):
        yield "values become what functions of other servers take, without a word", "write AS ASSIGNMENT"
    yield from refused_unseen(strings(node.func.objname))


def refused_rows(of_type: Any) -> Refused:
    """A table whose rows are a web service's requests is given to its function by a point."""
    if "http_request" in strings(of_type.names):
        yield "its rows are requests of a web service", "name its columns instead"


def refused_setting(name: str, values: list[str], *, reset: bool = False) -> Refused:
    """Of a setting that gets these values, or its default again."""
    if name in SETTINGS:
        yield f"{SETTINGS[name]}: {name}", LEAVE_OUT
    elif name and not reset and not is_settable(name):
        yield f"a setting that is not among those which a migration may set: {name[:80]}", LEAVE_OUT
    if name in SETTING_VALUES and not reset:
        permitted, why = SETTING_VALUES[name]
        if any(value.strip().lower() not in permitted for value in values):
            yield f"{why}: {name}", "leave the setting as it is"
    if name == "search_path":
        yield from _refused_path(",".join(values).lower())


def _refused_path(path: str) -> Refused:
    if any(ours in path for ours in OUR_NAMES):
        yield OUR_NAMES["upgradepath"], "leave it out of the search_path"
    for each in path.split(","):
        schema = each.strip(_AROUND_NAMES)
        if schema in FUNCTION_SCHEMAS:
            reason = f"functions of {schema} may be called by their plain names: they act elsewhere or later"
            yield reason, f"leave {schema} out of the search_path"


def _is_a_name(argument: Any) -> bool:
    name = made_text(value_of(argument))
    return name.whole and name.text.replace(".", "_").replace('"', "_").isidentifier()


def is_ours(argument: Any) -> bool:
    """A text that names the schema or the table to a function, as `'UpgradePath . fence'` does."""
    parts = _named(argument)
    return "upgradepath" in (*parts[:1], *parts[:-1]) or parts[-1:] == ["_prisma_migrations"]


def _named(argument: Any) -> list[str]:
    """The parts of the name that a text gives to a function; none where only running it would tell."""
    text = made_text(value_of(argument))
    parts = [each.strip(_AROUND_NAMES) for each in text.text.lower().split(".", 3)]
    return parts if text.whole else []
