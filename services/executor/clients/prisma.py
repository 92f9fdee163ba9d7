"""What a masked copy and a rollback must know of Prisma schema files: tables, columns and mask rules.

Only `read_models` is meant for others: a fuller reader can take its place without their noticing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

MaskRule = Literal["email", "name", "phone", "hash", "json", "null", "keep"]
RULES: tuple[MaskRule, ...] = get_args(MaskRule)
_SCALARS = frozenset(
    {"String", "Boolean", "Int", "BigInt", "Float", "Decimal", "DateTime", "Json", "Bytes", "Unsupported"}
)
_BLOCK = re.compile(r"^\s*(model|view|enum|type|datasource|generator)\s+(\w+)\s*\{")
_FIELD = re.compile(r"^(\w+)\s+(\w+)(\([^)]*\))?(\[\])?(\?)?")
_MASK = re.compile(r"^///\s*@mask\b\s*(\S*)")
_STRING = r'"((?:[^"\\]|\\.)*)"'
_RELATION_NAME = re.compile(rf"@relation\(\s*(?:name:\s*)?{_STRING}")
_COMMENT_END = re.compile(r'^((?:[^"/]|"(?:[^"\\]|\\.)*"|/(?!/))*)//.*$')


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


@dataclass(frozen=True)
class Model:
    """One model and the table that it stands for; `file` is where it was read."""

    name: str
    table: str
    schema: str
    file: str
    fields: tuple[FieldOf, ...] = field(default=())


def read_models(files: Mapping[str, str], default_schema: str = "public") -> tuple[Model, ...]:
    """The models of all the files (path to text), with a model for each implicit many-to-many table.

    Raises ValueError, naming file and line, for what is not understood.
    """
    blocks = [block for path in sorted(files) for block in _blocks(path, files[path])]
    names = {block.name for block in blocks if block.kind in ("model", "view")}
    stored = _SCALARS | {block.name for block in blocks if block.kind == "enum"}
    models = [_model(block, names, stored, default_schema) for block in blocks if block.kind == "model"]
    return (*models, *_joins(models))


@dataclass(frozen=True)
class _Block:
    kind: str
    name: str
    file: str
    lines: tuple[tuple[int, str], ...]


def _blocks(path: str, text: str) -> list[_Block]:
    found: list[_Block] = []
    inside: tuple[str, str] | None = None
    lines: list[tuple[int, str]] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _without_comment(raw)
        if inside is None:
            opening = _BLOCK.match(line)
            if opening is not None and "}" not in line:
                inside, lines = (opening[1], opening[2]), []
        elif line == "}":
            found.append(_Block(*inside, path, tuple(lines)))
            inside = None
        elif line:
            lines.append((number, line))
    if inside is not None:
        raise ValueError(f"{path}: {inside[0]} {inside[1]} is never closed")
    return found


def _without_comment(raw: str) -> str:
    line = raw.strip()
    if line.startswith("///"):
        return line
    ending = _COMMENT_END.match(line)
    return line if ending is None else ending[1].rstrip()


def _model(block: _Block, models: set[str], stored: frozenset[str] | set[str], default_schema: str) -> Model:
    table, schema = block.name, default_schema
    fields: list[FieldOf] = []
    mask: MaskRule | None = None
    for number, line in block.lines:
        place = f"{block.file}:{number}"
        if line.startswith("///"):
            mask = _mask(line, place) or mask
        elif line.startswith("@@"):
            table = _argument(line, "@@map") or table
            schema = _argument(line, "@@schema") or schema
        else:
            fields.append(_field(line, place, models, stored, mask))
            mask = None
    return Model(block.name, table, schema, block.file, tuple(fields))


def _mask(line: str, place: str) -> MaskRule | None:
    named = _MASK.match(line)
    if named is None:
        return None
    for rule in RULES:
        if rule == named[1]:
            return rule
    raise ValueError(f"{place}: {named[1] or 'nothing'} is no mask rule; use {', '.join(RULES)}")


def _field(
    line: str, place: str, models: set[str], stored: frozenset[str] | set[str], mask: MaskRule | None
) -> FieldOf:
    read = _FIELD.match(line)
    if read is None:
        raise ValueError(f"{place}: {line!r} is no field")
    name, kind = read[1], read[2]
    if kind not in stored and kind not in models:
        raise ValueError(f"{place}: {kind} is neither a type, an enum nor a model in these files")
    relation = _RELATION_NAME.search(line)
    return FieldOf(
        name=name,
        type=kind,
        column=None if kind in models else _argument(line, "@map") or name,
        mask=mask,
        many=read[4] is not None,
        is_id=re.search(r"@id\b", line) is not None,
        relation=None if relation is None else relation[1],
    )


def _argument(line: str, attribute: str) -> str | None:
    found = re.search(rf"(?<!@){re.escape(attribute)}\(\s*(?:name:\s*)?{_STRING}\s*\)", line)
    return None if found is None else found[1].replace('\\"', '"')


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
    return any(each.many and each.type == other.name and each.relation == relation for each in model.fields)


def _reference(column: str, model: Model) -> FieldOf:
    key = next((each for each in model.fields if each.is_id), None)
    # Masked as what it refers to, so that the join still finds it.
    kept = FieldOf(column, "Int", column) if key is None else key
    return replace(kept, name=column, column=column, is_id=False)
