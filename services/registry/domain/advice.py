"""Advice to a publisher: it stops no publish, but every Project that adopts the Release."""

from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile

from services.registry.domain.declared import types_of
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.packages.package import MANIFEST, MIGRATIONS, SCHEMA, Package
from shared.prisma.blocks import SCALARS, Block, Member, Unreadable, read_fragment
from shared.prisma.mask_words import mask_word
from shared.sql.actions import AddColumn
from shared.sql.columns import Column, shown
from shared.sql.parsing import Unreadable as UnreadableScript
from shared.sql.scene import Scene
from shared.sql.script import read_statements
from shared.versions import newest_first, satisfies

_NAMED_MAX = 20
_SURROGATES = frozenset({"Int", "BigInt"})


def advice_on(package: Package, before: Release | None) -> Iterator[Refusal]:
    """Columns without a mask rule, and new ones that no table with rows can take."""
    unmasked = _unmasked(package.schema)
    if unmasked:
        yield Refusal(
            kind="invalid",
            reason=f"no mask rule, so that each Project's copy to staging stops there: {_listed(unmasked)}",
            field=SCHEMA,
            cure="write one above each field (/// @mask hash); else each Project has to, in its masking.toml",
        )
    required = _required(package, before)
    if required:
        yield Refusal(
            kind="invalid",
            reason="NOT NULL without a default, which fails wherever the table has rows:"
            f" {_listed([what for _, what in required])}",
            field=f"{MIGRATIONS}{required[0][0]}/migration.sql",
            cure="give it a default, or add it without NOT NULL, fill it, and then SET NOT NULL",
        )


def advice_beside(
    package: Package, defaults: Mapping[str, str], offered: Mapping[str, Collection[str]]
) -> Iterator[Refusal]:
    """Settings that go, of the `defaults` of before; constraints that nothing `offered` satisfies."""
    now = types_of(package.manifest.config)
    gone = [key for key, kind in defaults.items() if kind != "table" and key not in now]
    if gone and not package.manifest.breaking:
        yield Refusal(
            kind="invalid",
            reason=f"settings go, which a Project may read or have set: {_listed(gone)}",
            field=f"{MANIFEST}: config",
            cure="keep them with their defaults, or say in `breaking` what takes their place",
        )
    for system, constraint in package.manifest.requires.items():
        versions = offered.get(system, ())
        if not any(satisfies(version, constraint) for version in versions):
            newest = f"the newest is {newest_first(versions)[0]}" if versions else "each is withdrawn"
            yield Refusal(
                kind="invalid",
                reason=f"no published version of {system} is {constraint}, so no Project can adopt this one",
                field=f"{MANIFEST}: requires",
                value=constraint,
                cure=f"publish one that is, or correct the constraint: {newest}",
            )


def _unmasked(schema: str) -> list[str]:
    try:
        blocks = read_fragment(SCHEMA, schema).blocks
    except Unreadable:
        # It is refused for that.
        return []
    enums = {block.name for block in blocks if block.kind == "enum"}
    return [
        f"{block.name}.{member.key}"
        for block in blocks
        if block.kind == "model"
        for references, keys in ((_references(block), _keys(block)),)
        for member in _fields(block)
        if member.type in (SCALARS - {"Boolean"} | enums)
        and member.key not in references
        and not _is_made_up(member, keys)
        and mask_word(member) is None
    ]


def _references(block: Block) -> frozenset[str]:
    """The fields of a model that follow what they refer to: those that a relation names as its own."""
    own: list[str] = []
    for member in block.members:
        if "fields" in member.tokens:
            start = member.tokens.index("fields")
            own += takewhile(lambda token: token != "]", member.tokens[start + 1 :])
    return frozenset(own)


def _keys(block: Block) -> frozenset[str]:
    """The fields of a model's key of several."""
    return frozenset(token for member in block.members if member.key == "@@id" for token in member.tokens)


def _is_made_up(member: Member, keys: frozenset[str]) -> bool:
    """A key that a program makes up, and so is kept without a rule."""
    is_key = member.has("@id") or member.key in keys
    return is_key and (member.type in _SURROGATES or member.has("@db.Uuid"))


def _fields(block: Block) -> Iterator[Member]:
    return (member for member in block.members if not member.is_attribute)


def _required(package: Package, before: Release | None) -> list[tuple[str, str]]:
    """The migration, and the column with its line, of each that a table with rows cannot take."""
    if before is None:
        return []
    known = {migration.name for migration in before.migrations}
    scene, found = Scene(None), []
    for migration in package.migrations:
        if migration.name in known:
            continue
        try:
            statements = read_statements(migration.sql)
        except UnreadableScript:
            continue
        for statement in statements:
            for action in statement.actions:
                if isinstance(action, AddColumn) and _lacks(action.column, scene.is_new(action.table)):
                    where = f"{shown(action.table)}.{action.column.name}"
                    found.append((migration.name, f"{where} ({migration.name} line {statement.line})"))
                scene.keep_up(action)
    return found


def _lacks(column: Column, is_empty: bool) -> bool:
    """True when rows that exist get no value in a column that wants one."""
    given = column.default is not None or column.fills or column.generated is not None
    return column.not_null and not given and not is_empty


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return f"{', '.join(names[:_NAMED_MAX])}{more}"
