"""A stage command is read piece by piece, and comes to what the whole of it comes to."""

import json

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.contracts.envelope import explain
from shared.contracts.stages import RunExecutorStage, RunValidatorStage, _known_project
from tests.support.golden_messages import GOLDEN

Command = type[RunExecutorStage] | type[RunValidatorStage]
BODIES: list[tuple[Command, bytes]] = [
    (model, json.dumps(json.loads(path.read_text()), separators=(",", ":")).encode())
    for model in (RunExecutorStage, RunValidatorStage)
    for path in sorted(GOLDEN.glob(f"{model.__name__}.*.json"))
]
PIECES = st.sampled_from(
    [
        *(b',"project":', b',"task":', b'"project":null,', b',"task":{"stage":"record"}', b',"fence":7'),
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b'"',
            b"\\",
            b" ",
            b"0",
            b"-1",
            b"null",
            b"NaN",
            b"\x00",
            b"\xff",
        ),
    ]
)


def whole(model: Command, body: bytes) -> object:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        return explain(error)


def by_pieces(model: Command, body: bytes) -> object:
    try:
        return model.read(body)
    except ValidationError as error:
        return explain(error)


@given(st.data(), st.sampled_from(BODIES))
def test_whatever_comes_is_read_as_if_it_were_read_whole(
    data: st.DataObject, which: tuple[Command, bytes]
) -> None:
    model, body = which
    by_pieces(model, body)  # its Project is known from here on
    for _ in range(data.draw(st.integers(0, 3))):
        # Near the seams more often than elsewhere.
        near = data.draw(st.sampled_from([0, body.find(b',"project":'), body.rfind(b',"task":'), len(body)]))
        at = max(0, near + data.draw(st.integers(-20, 40)))
        gone = data.draw(st.integers(0, 12))
        body = body[:at] + data.draw(PIECES) + body[at + gone :]
    assert by_pieces(model, body) == whole(model, body)


def test_a_project_is_read_once() -> None:
    for model, body in BODIES:
        model.read(body)
    before = _known_project.cache_info().misses
    again = [model.read(body) for model, body in BODIES]
    assert _known_project.cache_info().misses == before
    assert again == [model.model_validate_json(body) for model, body in BODIES]
