"""Whatever people write, a reader answers, or refuses with its own error: nothing else comes out of it."""

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.executor.clients.prisma import read_models
from services.executor.stages.config_merge import UnreadableConfig, merge_config
from services.executor.stages.impact import read_rules
from shared.contracts.runs import StartRun
from shared.contracts.stages import StageFinished
from shared.errors import Failure, Reject
from shared.http.bodies import screen_json
from shared.prisma.blocks import Unreadable, read_fragment
from shared.prisma.three_way import merge_fragment
from shared.project_file import read_project_file, read_version_map
from shared.sql.bounds import is_empty
from shared.sql.permitted import refused_in

WORDS = (
    *("model A {", "enum E {", "}", " id Int @id", " a A? @relation(", "/// @extends a", "/*", "*/", "//"),
    *("[a.b]", "a = 1", 'x."y" = [', "]", "[[a]]", "'''", '"""', "\\", '"', "\0", "\ufeff", "é"),
    *("SELECT ", "DO $$", "$$;", "--", "(", ")", "1e999", "{", "depends_on = [1]", "auth-system: 1.0.0"),
)
# Halves of a pair are not among them: a file is decoded first, and a body is screened.
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=40).map(
    lambda parts: "\n".join(parts[::2]) + "".join(parts[1::2])
)
READERS: dict[str, tuple[Callable[[str], object], tuple[type[Exception], ...]]] = {
    "project file": (read_project_file, (Reject,)),
    "version map": (read_version_map, (Reject,)),
    "rule": (lambda text: read_rules({"a.toml": text}), (Failure,)),
    "configuration": (lambda text: merge_config("a", text, {"x": 1}, {"x": {"y": 2}}), (UnreadableConfig,)),
    "schema": (lambda text: read_fragment("a.prisma", text), (Unreadable,)),
    "models": (lambda text: read_models({"a.prisma": text}), (ValueError,)),
    "fragments": (lambda text: merge_fragment(text, text + "\n", text + "\n//", ("a", "b")), ()),
    "script": (refused_in, ()),
    "empty script": (is_empty, ()),
    "message": (lambda text: StartRun.read(text.encode(errors="replace")), (ValidationError,)),
    "stage's answer": (
        lambda text: StageFinished.read(json.dumps({"outcome": text, text: [text]}).encode()),
        (ValidationError,),
    ),
    "HTTP body": (lambda text: screen_json(text.encode(errors="replace")), (Reject,)),
}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=40, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(text=TEXTS)
def test_a_reader_answers_or_refuses(name: str, text: str) -> None:
    """Each would be a 500, a dead letter, or a stage that errored instead of the Project's verdict."""
    read, refuses = READERS[name]
    with suppress(*refuses):
        read(text)
