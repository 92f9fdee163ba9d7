"""The reference of `upgradepath.toml` as Markdown, made from its models."""

import json
from collections.abc import Iterator
from typing import Any

from shared.contracts.projects import ProjectDefinition

_HEAD = """\
# upgradepath.toml

Every key of a Project's declaration, made from the models that read it. `upgradepath project register`
refuses a key that does not stand here. `examples/project/upgradepath.toml` has one of each.
"""
_HUGE = 4096
"""A bound as large as that keeps readers safe and is nobody's concern."""

Schema = dict[str, Any]


def project_file_reference() -> str:
    """The whole page; it ends with a newline."""
    schema = ProjectDefinition.model_json_schema(by_alias=True)
    headings: dict[int, list[str]] = {}
    tables: dict[int, Schema] = {}
    for heading, table in _tables("", schema, schema["$defs"]):
        headings.setdefault(id(table), []).append(heading)
        tables[id(table)] = table
    return "\n".join([_HEAD, *(line for key in tables for line in _page(headings[key], tables[key]))])


def _tables(path: str, schema: Schema, definitions: Schema) -> Iterator[tuple[str, Schema]]:
    """Each TOML table with its heading; one that may stand in several places comes several times."""
    yield f"`[{path}]`" if path else "At the top", schema
    for key, each in schema["properties"].items():
        below = f"{path}.{key}" if path else key
        if "$ref" in each:
            yield from _tables(below, _resolved(each, definitions), definitions)
        for one in _named(each):
            table = _resolved(one, definitions)
            yield f'`[{below}.NAME]` with `kind = "{table["properties"]["kind"]["const"]}"`', table


def _named(each: Schema) -> list[Schema]:
    """The tables that may stand under names of the partner's choice."""
    patterns: Schema = each.get("patternProperties", {})
    found: list[Schema] = next((one["oneOf"] for one in patterns.values() if "oneOf" in one), [])
    return found


def _page(headings: list[str], schema: Schema) -> Iterator[str]:
    """One table's keys."""
    rows = {
        key: each for key, each in schema["properties"].items() if "$ref" not in each and not _named(each)
    }
    if not rows:
        return
    yield f"## {', '.join(headings)}\n"
    if "description" in schema and schema["title"] != ProjectDefinition.__name__:
        yield f"{_line(schema['description'])}\n"
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for key, each in rows.items():
        needed = key in schema.get("required", []) or "const" in each
        meaning = "; ".join(part for part in (_line(each.get("description", "")), _bounds(each)) if part)
        yield f"| `{key}` | {_value(each)} | {'**needed**' if needed else _default(each)} | {meaning} |"
    yield ""


def _resolved(each: Schema, definitions: Schema) -> Schema:
    found: Schema = definitions[each["$ref"].rpartition("/")[2]]
    return found


def _value(each: Schema) -> str:
    if "anyOf" in each:
        return _value(next(one for one in each["anyOf"] if one.get("type") != "null"))
    if "const" in each:
        return f"`{json.dumps(each['const'])}`"
    if "enum" in each:
        return " or ".join(f"`{json.dumps(one)}`" for one in each["enum"])
    kinds = {"string": "text", "number": "number", "integer": "whole number", "boolean": "`true` or `false`"}
    if each["type"] == "array":
        return f"list of {_value(each['items'])}s"
    if each["type"] == "object":
        values = each.get("additionalProperties") or next(iter(each["patternProperties"].values()))
        return f"table of {_value(values)}s by name"
    return kinds[each["type"]]


def _default(each: Schema) -> str:
    value = each.get("default")
    return "none" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _bounds(each: Schema) -> str:
    one = next((part for part in each.get("anyOf", [each]) if part.get("type") != "null"), each)
    inner = one["items"] if one.get("type") == "array" else one
    words = {
        "exclusiveMinimum": "more than {}",
        "minimum": "at least {}",
        "maximum": "at most {}",
        "maxLength": "at most {} characters",
        "maxItems": "at most {} entries",
    }
    found = [
        text.format(value)
        for name, text in words.items()
        if (value := one.get(name)) is not None and (name[:3] != "max" or value < _HUGE)
    ]
    if examples := inner.get("examples") or one.get("examples"):
        shown = " or ".join(f"`{json.dumps(example, ensure_ascii=False)}`" for example in examples)
        found.append(f"for instance {shown}")
    return "; ".join(found)


def _line(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())
