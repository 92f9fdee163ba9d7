"""Nothing in a message is of any length: each text, list and mapping has a most, and so has each answer."""

import json
from pathlib import Path

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from shared.contracts.bounded import unbounded
from shared.contracts.envelope import BODY_BYTES_MAX, Unreadable, explain, receive
from shared.contracts.projects import RegisterProject
from shared.contracts.refusals import Refusal
from shared.contracts.releases import ReleasePublished
from shared.contracts.runs import (
    AcceptMasks,
    ApproveCandidate,
    CancelRun,
    RejectCandidate,
    RollBackRun,
    SignOff,
)
from shared.contracts.stages import _KNOWN_BYTES_MAX, _known_project, _read_project, _Written
from shared.contracts.values import ITEMS_MAX, TEXT_MAX, Contract, Message, Version, _semantic
from shared.errors import Reject
from tests.support.planner_examples import project


def _contracts(kind: type[Contract] = Contract) -> list[type[Contract]]:
    return [kind, *(found for each in kind.__subclasses__() for found in _contracts(each))]


@pytest.mark.parametrize("model", _contracts(), ids=lambda model: model.__name__)
def test_every_field_has_a_most(model: type[Contract]) -> None:
    """One without a bound lets a message of the broker's size become a hundred times as much memory."""
    assert model.model_config["str_max_length"] == TEXT_MAX
    assert unbounded(model.__pydantic_core_schema__) == []


def test_too_many_items_are_refused() -> None:
    class Many(Message):
        items: tuple[int, ...] = ()
        names: dict[str, str] = Field(default={})
        text: str = ""

    for values in (
        {"items": range(ITEMS_MAX + 1)},
        {"names": {str(number): "" for number in range(ITEMS_MAX + 1)}},
        {"text": "x" * (TEXT_MAX + 1)},
    ):
        with pytest.raises(ValidationError):
            Many.model_validate(values)
    assert len(Many.model_validate({"items": range(ITEMS_MAX)}).items) == ITEMS_MAX


BODIES = {
    "deep": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep in a field": b'{"project": ' + b'{"definition": ' * 5_000 + b"1" + b"}" * 5_001,
    "long number": b'{"x": ' + b"9" * 100_000 + b"}",
    "no Unicode": b'{"x": "\\ud800"}',
    "no UTF-8": b'{"x": "\xff"}',
    "many mistakes": b'{"pins": {' + b",".join(b'"A%d": 1' % number for number in range(20_000)) + b"}}",
    "large": b" " * (BODY_BYTES_MAX + 1),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_unreadable_in_a_short_sentence(name: str) -> None:
    headers = {"ce_specversion": "1.0", "ce_id": "x", "ce_source": "/x", "ce_time": "2026-01-01T00:00:00Z"}
    headers["ce_type"] = RegisterProject.type_name()
    with pytest.raises(Unreadable) as unreadable:
        receive([(key, value.encode()) for key, value in headers.items()], BODIES[name])
    assert len(str(unreadable.value)) <= 5_000


def test_an_explanation_is_short() -> None:
    with pytest.raises(ValidationError) as invalid:
        RegisterProject.model_validate({"pins": dict.fromkeys(map(str, range(9_999)), 1)})
    assert len(explain(invalid.value)) <= 5_000


def test_an_answer_is_short_whatever_it_is_about() -> None:
    text = "x" * 10**6
    refusal = Refusal(kind="invalid", reason=text, field=text, value=text, cure=text)
    assert len(refusal.model_dump_json()) < 20_000
    assert len(Reject(*[refusal] * 9_999).refusals) == 100


@pytest.mark.parametrize(
    "command", [AcceptMasks, ApproveCandidate, CancelRun, RejectCandidate, RollBackRun, SignOff]
)
def test_what_a_person_says_of_a_decision_is_short(command: type[Message]) -> None:
    """It stands in every later event of the Run, and all of them must fit the topic."""
    with pytest.raises(ValidationError) as invalid:
        command.model_validate({"reason": "x" * 2001, "remark": "x" * 2001})
    assert "at most 2000 characters" in explain(invalid.value)


def test_a_long_version_is_refused_before_it_is_remembered() -> None:
    before = _semantic.cache_info()
    with pytest.raises(ValidationError, match="at most 256"):
        TypeAdapter(Version).validate_python("1.0.0-" + "a" * 256)
    assert _semantic.cache_info() == before


def test_a_large_project_is_read_and_written_but_not_remembered() -> None:
    large = project()
    body = large.model_dump_json().encode() + b" " * _KNOWN_BYTES_MAX
    before = _known_project.cache_info()
    assert _read_project(body) == large
    assert _known_project.cache_info() == before
    wide = large.with_(id="x" * _KNOWN_BYTES_MAX)
    written = _Written(most=2)
    assert written.json(wide) == written.json(wide)
    assert not written._known


def test_the_first_item_that_does_not_fit_ends_a_list() -> None:
    """A message of 300,000 such items kept the loop of each of its readers for eight seconds."""
    golden = Path(__file__).with_name("golden") / "ReleasePublished.v1.json"
    values = json.loads(golden.read_text())
    values["release"]["breaking"] = [[]] * 1000
    with pytest.raises(ValidationError) as caught:
        ReleasePublished.read(json.dumps(values).encode())
    assert caught.value.error_count() == 1
