"""Contracts only grow: every message ever released still parses, and nothing of it is lost.

A golden file is never changed. When one of these tests fails, the contract has shrunk: take it back.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from shared.contracts.catalogue import BY_TYPE, MESSAGES
from shared.contracts.documents import file_name, json_schemas
from shared.contracts.values import Message
from tests.support.golden_messages import GOLDEN, examples

FILES = sorted(GOLDEN.glob("*.json"))
SCHEMAS = {name: json.loads(text) for name, text in json_schemas().items()}


def model_of(path: Path) -> type[Message]:
    name, version = path.name.split(".")[:2]
    return BY_TYPE[f"upgrades.{name}.{version}"]


def lost(golden: Any, now: Any, where: str = "body") -> list[str]:
    """What stands in the golden value and not in the present one; what was added since is welcome."""
    if isinstance(golden, dict) and isinstance(now, dict):
        return [
            loss
            for key, value in golden.items()
            for loss in (lost(value, now[key], f"{where}.{key}") if key in now else [f"{where}.{key}"])
        ]
    if isinstance(golden, list) and isinstance(now, list) and len(golden) == len(now):
        return [
            loss
            for number, (old, new) in enumerate(zip(golden, now, strict=True))
            for loss in lost(old, new, f"{where}[{number}]")
        ]
    return [] if golden == now else [where]


MAPPINGS = {
    *("requires", "pins", "expected_pins", "pins_before", "pins_after", "systems", "add", "notes", "rows"),
    *("checks", "validate", "check-workflows", "variables"),
}
"""Their keys are names, so a further key is a further entry."""


def with_unknown_fields(value: Any, inside: str = "") -> Any:
    """As a later version of the sender might say it."""
    if isinstance(value, dict):
        grown = {key: with_unknown_fields(item, key) for key, item in value.items()}
        return grown if inside in MAPPINGS else {**grown, "said_by_a_later_version": {"anything": [1]}}
    if isinstance(value, list):
        return [with_unknown_fields(item, inside) for item in value]
    return value


def test_every_message_has_a_golden_file_and_none_is_an_orphan() -> None:
    names = {path.name for path in FILES}
    assert {file_name(message) for message in MESSAGES} <= names
    assert {model_of(path) for path in FILES} == set(MESSAGES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_golden_message_parses_and_nothing_of_it_is_lost(path: Path) -> None:
    body = path.read_bytes()
    message = model_of(path).model_validate_json(body)
    again = message.model_dump_json(by_alias=True)
    assert lost(json.loads(body), json.loads(again)) == []
    assert model_of(path).model_validate_json(again) == message
    assert message.key()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_unknown_fields_are_ignored_wherever_they_stand(path: Path) -> None:
    body = json.loads(path.read_bytes())
    grown = with_unknown_fields(body)
    assert grown != body
    model = model_of(path)
    assert model.model_validate_json(json.dumps(grown)) == model.model_validate_json(path.read_bytes())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_schema_accepts_it(path: Path) -> None:
    schema = SCHEMAS[file_name(model_of(path))]
    errors = list(Draft202012Validator(schema).iter_errors(json.loads(path.read_bytes())))
    assert [error.message for error in errors] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_schema_refuses_it_with_a_required_field_missing(path: Path) -> None:
    schema = SCHEMAS[file_name(model_of(path))]
    body = json.loads(path.read_bytes())
    for required in schema["required"]:
        shrunk = {key: value for key, value in body.items() if key != required}
        assert not Draft202012Validator(schema).is_valid(shrunk), required


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_valid_and_says_what_it_is_of(name: str) -> None:
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"https://schemas.upgradepath.example/{name}"
    assert schema["title"] == name.split(".")[0]
    assert schema["description"]


def test_the_examples_still_make_every_golden_file() -> None:
    assert set(examples()) == {path.name for path in FILES}
