"""What a masked copy and a rollback must know of Prisma schema files: tables, columns and mask rules.

Prisma's own data model does not serve here: it leaves out what its client does not read, and those columns
hold people's data too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from services.executor.clients.mask_file import MASKING_FILE, PROPOSED, Masks, UnfitMasks
from shared.prisma.blocks import SCALARS, Block, Member, read_fragment
from shared.prisma.fragments import merge
from shared.prisma.mask_words import RULES, MaskRule, mask_word, parse_rule
from shared.prisma.ownership import Conflicts, Unified

_NAME = re.compile(r"\w+")


@dataclass(frozen=True)
class FieldOf:
    """One field; `column` is none where it is a relation and so stands in no table."""

    name: str
    type: str
    column: str | None
    mask: MaskRule | None = None
    many: bool = False
    is_id: bool = False
    relation: str | None = None
    proposed: MaskRule | None = None
    """A rule that nobody has confirmed yet: it masks nothing."""
    line: str = field(default="", compare=False)
    """The file and line where it stands: the same field may stand elsewhere."""


@dataclass(frozen=True)
class Model:
    """One model and the table that it stands for; `file` is where it was read."""

    name: str
    table: str
    schema: str
    file: str
    fields: tuple[FieldOf, ...] = field(default=())


def read_models(
    files: Mapping[str, str], default_schema: str = "public", masks: Masks = MappingProxyType({})
) -> tuple[Model, ...]:
    """The models of all the files (path to text), with a model for each implicit many-to-many table.

    A field that a file adds to another's model is that model's. `masks` are the rules of a file of their own.
    Raises ValueError, naming file and line, for what is not understood or in dispute; UnfitMasks for `masks`
    that name what is not there or disagree with the schema.
    """
    match merge(files):
        case Conflicts(conflicts):
            raise ValueError("; ".join(map(str, conflicts)))
        case merged:
            return _models(merged, default_schema, masks)


def _models(merged: Unified, default_schema: str, masks: Masks) -> tuple[Model, ...]:
    read = [read_fragment(path, text) for path, text in merged.files.items()]
    blocks = [(fragment.path, block) for fragment in read for block in fragment.blocks]
    names = {block.name for _, block in blocks if block.kind in ("model", "view")}
    stored = SCALARS | {block.name for _, block in blocks if block.kind == "enum"}
    models: list[Model] = []
    for path, block in blocks:
        if block.kind == "model":
            fields = []
            for member in block.fields:
                file, line = merged.origins[path][member.line]
                fields.append(_field(member, f"{file}:{line}", names, stored))
            models.append(_model(block, path, tuple(fields), default_schema))
    if masks:
        models = _with_masks(models, masks)
    return (*models, *_joins(models))


def _with_masks(models: list[Model], masks: Masks) -> list[Model]:
    left, wrong = dict(masks), []
    masked = []
    for model in models:
        fields = []
        for each in model.fields:
            word = left.pop((model.name, each.name), None)
            if word is not None and each.column is None:
                wrong.append(f"{model.name}.{each.name} is a relation, which no table has")
            elif word is not None and each.mask not in (None, parse_rule(word)) and PROPOSED not in word:
                wrong.append(f"{model.name}.{each.name} is {word} there and {each.mask} in {each.line}")
            fields.append(each if word is None else _masked(each, word))
        masked.append(replace(model, fields=tuple(fields)))
    wrong += [f"{model}.{name} is in no schema file" for model, name in left]
    if wrong:
        raise UnfitMasks(f"{MASKING_FILE}: {'; '.join(wrong)}")
    return masked


def _masked(field: FieldOf, word: str) -> FieldOf:
    proposed = parse_rule(word.removesuffix(PROPOSED))
    if word.endswith(PROPOSED):
        return replace(field, proposed=proposed if field.mask is None else None)
    return replace(field, mask=proposed)


def _model(block: Block, path: str, fields: tuple[FieldOf, ...], default_schema: str) -> Model:
    table, schema = block.argument("@@map") or block.name, block.argument("@@schema") or default_schema
    return Model(block.name, table, schema, path, fields)


def _field(member: Member, place: str, models: set[str], stored: frozenset[str]) -> FieldOf:
    name, kind = member.key, member.type
    if not _NAME.fullmatch(name) or not kind:
        raise ValueError(f"{place}: {' '.join(member.tokens)!r} is no field")
    if kind not in stored and kind not in models:
        raise ValueError(f"{place}: {kind} is neither a type, an enum nor a model in these files")
    return FieldOf(
        name=name,
        type=kind,
        column=None if kind in models else member.argument("@map") or name,
        mask=_mask(member, place),
        many=member.is_list,
        is_id=member.has("@id"),
        relation=member.argument("@relation"),
        line=place,
    )


def _mask(member: Member, place: str) -> MaskRule | None:
    word = mask_word(member)
    if word is None:
        return None
    rule = parse_rule(word)
    if rule is not None:
        return rule
    raise ValueError(f"{place}: {word or 'nothing'} is no mask rule; use {', '.join(RULES)}")


def _joins(models: list[Model]) -> list[Model]:
    """The tables `_AToB` that Prisma makes where two models list each other; A is first by name."""
    by_name = {model.name: model for model in models}
    joins: dict[str, Model] = {}
    for model in models:
        for one in model.fields:
            other = by_name.get(one.type)
            if other is None or not one.many or not _lists(other, model, one.relation):
                continue
            first, second = sorted((model, other), key=lambda each: each.name)
            name = f"_{one.relation or f'{first.name}To{second.name}'}"
            columns = (_reference("A", first), _reference("B", second))
            joins[name] = Model(name, name, first.schema, first.file, columns)
    return list(joins.values())


def _lists(model: Model, other: Model, relation: str | None) -> bool:
    """Whether a model lists the other; one that lists itself does so from both ends, else it is a tree."""
    ends = sum(each.many and each.type == other.name and each.relation == relation for each in model.fields)
    return ends >= (2 if model.name == other.name else 1)


def _reference(column: str, model: Model) -> FieldOf:
    key = next((each for each in model.fields if each.is_id), None)
    # Masked as what it refers to, so that the join still finds it.
    kept = FieldOf(column, "Int", column) if key is None else key
    return replace(kept, name=column, column=column, is_id=False)
