"""What stands on the things of a schema and goes with them: owners, rights, comments, options. Pure."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from shared.sql.names import literal, quoted


class Aspect(NamedTuple):
    """One trait of one thing; `object` is written as SQL names it: `TABLE public.t`.

    `part` is the column, rule, option or the like that the trait is of.
    """

    object: str
    kind: str
    part: str = ""


class Worn(NamedTuple):
    """How a thing wears an aspect; `made` tells a thing from another one that was made in its place.

    `values` are one text, or for rights a text for each role: `role|privileges|may grant|by`.
    """

    made: str
    values: tuple[str, ...]


Dressing = Mapping[Aspect, Worn]
PUBLIC = "public"
OWNER = "(database owner)"
# GRANT has fewer words for things than ALTER.
_GRANTED_ON = {
    "FOREIGN TABLE ": "TABLE ", "MATERIALIZED VIEW ": "TABLE ", "VIEW ": "TABLE ", "AGGREGATE ": "FUNCTION ",
}  # fmt: skip
NEW = "NEW "
"""How the object of an aspect begins that says what a thing gets when its role makes it."""
_NEW_KINDS = {
    "TABLE": ("TABLE ", "VIEW ", "MATERIALIZED VIEW ", "FOREIGN TABLE "),
    "SEQUENCE": ("SEQUENCE ",),
    "FUNCTION": ("FUNCTION ", "PROCEDURE ", "AGGREGATE "),
    "TYPE": ("TYPE ", "DOMAIN "),
    "SCHEMA": ("SCHEMA ",),
}
_SCHEMA = re.compile(r'("(?:[^"]|"")++"|[^".]++)\.')
# What a thing has that nobody has dressed.
_BARE = {"owner": None, "replica": "DEFAULT", "storage": None, "stored": "LOGGED", "rule": "ENABLE"}


def fixes(now: Dressing, wanted: Dressing, things: Collection[str] | None = None) -> tuple[str, ...]:
    """Statements that dress what there is as it is wanted; `things` limits them to these objects."""
    found: list[str] = []
    for aspect in sorted({**now, **wanted}, key=_place):
        has, wants = now.get(aspect), wanted.get(aspect)
        if things is not None and aspect.object not in things:
            continue
        if (has and has.values) != (wants and wants.values):
            found += _statements(aspect, has, wants)
    return tuple(found)


def roles_of(aspect: Aspect, worn: Worn) -> frozenset[str]:
    """The roles without which it cannot be put on."""
    match aspect.kind:
        case "owner":
            named = set(worn.values)
        case "rights":
            named = {text.split("|")[0] for text in worn.values}
        case _:
            named = set()
    return frozenset(named - {PUBLIC, OWNER})


def remade(before: Dressing, now: Dressing) -> frozenset[str]:
    """The things that are there before and now, and are not the same ones."""
    then = {aspect.object: worn.made for aspect, worn in before.items() if "." not in worn.made}
    return frozenset(
        aspect.object
        for aspect, worn in now.items()
        if "." not in worn.made and then.get(aspect.object, worn.made) != worn.made
    )


def of_absent_roles(worn: Dressing, things: Collection[str], there: Collection[str]) -> tuple[str, ...]:
    """Statements that give these things what they wear by roles that a server has not, if it has them."""
    found: list[str] = []
    for aspect, each in sorted(worn.items(), key=lambda item: _place(item[0])):
        absent = roles_of(aspect, each) - set(there)
        if aspect.object not in things or not absent:
            continue
        if aspect.kind == "rights":
            each = Worn(each.made, tuple(text for text in each.values if text.split("|")[0] in absent))
        for statement in _statements(aspect, None, each):
            # One statement is about one role.
            found += [where_roles_are(statement, [role]) for role in absent if quoted(role) in statement]
    return tuple(found)


def not_as_given(worn: Dressing, things: Collection[str]) -> tuple[str, ...]:
    """Statements for things that are made anew where default privileges give other rights than they had."""
    found: list[str] = []
    for aspect, each in sorted(worn.items()):
        if aspect.kind != "rights" or aspect.part or aspect.object not in things:
            continue
        given = _given(worn, aspect.object)
        if given is None:
            continue
        roles = {text.split("|")[0] for text in (*given.values, *each.values)} - {OWNER}
        for role in sorted(roles):
            has, wants = _of_role(given, role), _of_role(each, role)
            if has.values == wants.values:
                continue
            statements = list(_rights(aspect.object, "", has, wants))
            # REVOKE ALL of a thing takes its columns' rights along.
            for column, on_column in sorted(worn.items()):
                if column[:2] == aspect[:2] and column.part:
                    statements += _rights(aspect.object, column.part, None, _of_role(on_column, role))
            found += [each if role == PUBLIC else where_roles_are(each, [role]) for each in statements]
    return tuple(found)


def _given(worn: Dressing, thing: str) -> Worn | None:
    """The rights that it gets when it is made; none where nobody says anything else than PostgreSQL does."""
    kind, begin = next((k, b) for k, begins in _NEW_KINDS.items() for b in begins if thing.startswith(b))
    qualified = _SCHEMA.match(thing.removeprefix(begin))
    schema = qualified[1] if qualified else ""
    entries = [worn.get(Aspect(NEW + kind, "given", each)) for each in ("", schema)]
    values = [text for each in entries if each is not None for text in each.values]
    return Worn("", tuple(values)) if any(entries) else None


def _of_role(worn: Worn, role: str) -> Worn:
    return Worn("", tuple(sorted(text for text in worn.values if text.split("|")[0] == role)))


def strangers(worn: Dressing, thing: str) -> frozenset[str]:
    """The roles, its owner and everybody left out, that may do something with a thing."""
    named = {
        role for aspect, each in worn.items() if aspect.object == thing for role in roles_of(aspect, each)
    }
    owners = worn.get(Aspect(thing, "owner"))
    return frozenset(named - set(owners.values if owners else ()))


def where_roles_are(statement: str, roles: Collection[str]) -> str:
    """The statement, run only on a server that has the roles."""
    condition = " AND ".join(
        f"pg_catalog.to_regrole({literal(quoted(role))}) IS NOT NULL" for role in sorted(roles)
    )
    return f"DO $dress$ BEGIN IF {condition} THEN {statement}; END IF; END $dress$"


def _place(aspect: Aspect) -> tuple[int, Aspect]:
    """Who gives a thing away may do no more with it: its owner comes last."""
    return (2 if aspect.kind == "owner" else 1 if aspect.kind == "rights" else 0), aspect


def _statements(aspect: Aspect, has: Worn | None, wants: Worn | None) -> Iterator[str]:
    thing, kind, part = aspect
    value = wants.values[0] if wants and wants.values else None
    value = _BARE.get(kind) if value is None else value
    alter = f"ALTER {thing}"
    match kind:
        case "comment":
            yield f"COMMENT ON {thing} IS {'NULL' if value is None else literal(value)}"
        case "label":
            yield f"SECURITY LABEL FOR {part} ON {thing} IS {'NULL' if value is None else literal(value)}"
        case "given":
            return
        case "owner":
            if value not in (None, OWNER):
                assert value is not None
                yield f"{alter} OWNER TO {quoted(value)}"
        case "rights":
            yield from _rights(thing, part, has, wants)
        case "option":
            yield f"{alter} RESET ({part})" if value is None else f"{alter} SET ({part} = {literal(value)})"
        case "column option":
            column, option = part.split("|")
            set_ = f"RESET ({option})" if value is None else f"SET ({option} = {value})"
            yield f"{alter} ALTER COLUMN {column} {set_}"
        case "column statistics":
            yield f"{alter} ALTER COLUMN {part} SET STATISTICS {value or -1}"
        case "column default":
            set_ = "DROP DEFAULT" if value is None else f"SET DEFAULT {value}"
            yield f"{alter} ALTER COLUMN {part} {set_}"
        case "storage":
            if value is not None:
                yield f"{alter} ALTER COLUMN {part} SET STORAGE {value}"
        case "compression":
            yield f"{alter} ALTER COLUMN {part} SET COMPRESSION {value or 'DEFAULT'}"
        case "replica":
            yield f"{alter} REPLICA IDENTITY {value}"
        case "cluster":
            yield f"{alter} SET WITHOUT CLUSTER" if value is None else f"{alter} CLUSTER ON {value}"
        case "stored":
            yield f"{alter} SET {value}"
        case "rule":
            yield f"{alter} {value} RULE {part}"
        case "statistics":
            yield f"{alter} SET STATISTICS {value or -1}"
        case "not null":
            if has and has.values and value is not None:
                yield f"{alter} RENAME CONSTRAINT {quoted(has.values[0])} TO {quoted(value)}"
        case "extension":
            yield f"{alter} {'NO ' if value is None else ''}DEPENDS ON EXTENSION {part}"
        case other:
            raise AssertionError(f"nobody knows how to put on {other}")


def _rights(thing: str, column: str, has: Worn | None, wants: Worn | None) -> Iterator[str]:
    kind = next((each for each in _GRANTED_ON if thing.startswith(each)), "")
    on = f"ON {_GRANTED_ON.get(kind, '')}{thing.removeprefix(kind)}"
    then = dict(_by_role(has))
    for role, _ in _by_role(wants):
        then.setdefault(role, "")
    columns = f" ({column})" if column else ""
    wanted = set(wants.values) if wants else set()
    had = set(has.values) if has else set()
    for role in then:
        mine = {text for text in wanted if text.split("|")[0] == role}
        if mine == {text for text in had if text.split("|")[0] == role}:
            continue
        if role == OWNER:
            continue
        name = "PUBLIC" if role == PUBLIC else quoted(role)
        if then[role]:
            yield f"REVOKE ALL{columns} {on} FROM {name}"
        for text in sorted(mine):
            _, privileges, may_grant = text.split("|")
            named = ", ".join(f"{each}{columns}" for each in privileges.split(","))
            yield f"GRANT {named} {on} TO {name}{' WITH GRANT OPTION' if may_grant else ''}"


def _by_role(worn: Worn | None) -> Iterator[tuple[str, str]]:
    for text in worn.values if worn else ():
        yield text.split("|")[0], text
