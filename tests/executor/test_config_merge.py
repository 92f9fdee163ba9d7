"""Laws of merging configuration defaults into what a Project has."""

import tomllib
from typing import Any

import pytest
import tomlkit
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.executor.stages.config_merge import UnreadableConfig, merge_config

NAMES = st.sampled_from(["a", "b", "c", "d e"])
PLAIN = st.one_of(st.booleans(), st.integers(-3, 3), st.sampled_from(["x", "y", ""]), st.just(1.0))
VALUES = st.one_of(PLAIN, st.lists(st.integers(0, 2), max_size=2))
SUBTABLES = st.dictionaries(
    NAMES, st.one_of(VALUES, st.dictionaries(NAMES, VALUES, min_size=1, max_size=2)), min_size=1, max_size=3
)
CONFIGS = st.dictionaries(NAMES, st.one_of(VALUES, SUBTABLES), max_size=4)
STYLES = st.sampled_from(["tables", "inline", "dotted"])


def literal(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{name}" = {literal(part)}' for name, part in value.items()) + " }"
    return str(tomlkit.item(value).as_string())


def written(values: dict[str, Any], style: str = "tables") -> str:
    """One of the ways in which a person may write the same values."""
    if style == "inline":
        return "".join(f'"{name}" = {literal(value)}  # mine\n' for name, value in values.items())
    if style == "tables":
        return "# mine\n" + tomlkit.dumps(values)
    return "".join(
        ".".join(f'"{part}"' for part in key) + f" = {literal(value)}\n"
        for key, value in parts(values).items()
    )


def parts(values: dict[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for name, value in values.items():
        found |= parts(value, (*above, name)) if isinstance(value, dict) else {(*above, name): value}
    return found


def leaves(values: dict[str, Any]) -> dict[tuple[str, ...], str]:
    return {key: repr(value) for key, value in parts(values).items()}


def merged(
    project: dict[str, Any], old: dict[str, Any], new: dict[str, Any], style: str
) -> dict[tuple[str, ...], str]:
    text = merge_config("auth-system", written(project, style), old, new).text
    assert text is not None
    return leaves(tomllib.loads(text))


@settings(max_examples=300)
@given(CONFIGS, CONFIGS, CONFIGS, STYLES)
def test_a_key_that_the_project_set_itself_stays(
    project: dict[str, Any], old: dict[str, Any], new: dict[str, Any], style: str
) -> None:
    result, defaults = merged(project, old, new, style), leaves(old)
    for key, value in leaves(project).items():
        if defaults.get(key) != value:
            assert result[key] == value


@settings(max_examples=300)
@given(CONFIGS, CONFIGS, STYLES)
def test_a_project_that_changed_nothing_gets_exactly_the_new_defaults(
    old: dict[str, Any], new: dict[str, Any], style: str
) -> None:
    assert merged(old, old, new, style) == leaves(new)


@given(CONFIGS, CONFIGS, STYLES)
def test_no_new_default_means_not_one_byte_changes(
    project: dict[str, Any], old: dict[str, Any], style: str
) -> None:
    text = written(project, style)
    result = merge_config("auth-system", text, old, old)
    assert (result.text, result.changes) == (text, ())
    assert merge_config("auth-system", None, old, old).text is None


@settings(max_examples=300)
@example({"a": 1.0, "b": {"a": "x"}}, {}, {"c": False, "b": {"a": 1.0, "b": {"a": 1.0}}}, "dotted")
@example({"a": 0, "b": {"a": 1.0}}, {}, {"c": False, "b": {"a": 1.0, "b": {"c": 1.0}}}, "dotted")
@given(CONFIGS, CONFIGS, CONFIGS, STYLES)
def test_what_is_told_is_what_is_done(
    project: dict[str, Any], old: dict[str, Any], new: dict[str, Any], style: str
) -> None:
    before = leaves(project)
    told = {change.key: change for change in merge_config("s", written(project, style), old, new).changes}
    after = merged(project, old, new, style)
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            assert not told[".".join(key)].kept
    # Once merged, the same again is done already.
    assert all(change.kept for change in told.values()) or after != before


@settings(max_examples=300)
@given(CONFIGS, CONFIGS, STYLES)
def test_merging_twice_is_merging_once(old: dict[str, Any], new: dict[str, Any], style: str) -> None:
    once = merge_config("s", written(old, style), old, new).text
    assert once is not None
    twice = merge_config("s", once, new, new).text
    assert twice == once


def test_comments_and_order_stay() -> None:
    text = (
        '# Field staff need longer.\nsession_minutes = 45  # agreed\ncookie = "old"\n\n[mail]\nfrom = "a@b"\n'
    )
    old: dict[str, Any] = {"session_minutes": 30, "cookie": "old", "mail": {"from": "x@y"}}
    new: dict[str, Any] = {
        "session_minutes": 60,
        "cookie": "new",
        "retention_days": 90,
        "mail": {"from": "x@y", "to": "z"},
    }
    result = merge_config("auth-system", text, old, new)
    assert result.text == (
        '# Field staff need longer.\nsession_minutes = 45  # agreed\ncookie = "new"\nretention_days = 90\n\n'
        '[mail]\nfrom = "a@b"\nto = "z"\n'
    )
    assert [
        (change.key, change.before, change.default, change.after, change.kept) for change in result.changes
    ] == [
        ("session_minutes", 45, 60, 45, True),
        ("cookie", "old", "new", "new", False),
        ("retention_days", None, 90, 90, False),
        ("mail.to", None, "z", "z", False),
    ]


def test_a_default_that_went_goes_unless_the_project_set_it() -> None:
    old: dict[str, Any] = {"a": 1, "b": 2, "t": {"x": 1}}
    result = merge_config("s", "a = 1\nb = 5\n[t]\nx = 1\n", old, {})
    assert tomllib.loads(result.text or "") == {"b": 5}


def test_what_the_project_took_out_stays_out() -> None:
    result = merge_config("s", "b = 1\n", {"a": 1, "b": 1}, {"a": 2, "b": 1})
    assert result.text == "b = 1\n"
    assert [(change.key, change.kept) for change in result.changes] == [("a", True)]


def test_a_file_that_is_no_toml_is_said_so() -> None:
    with pytest.raises(UnreadableConfig):
        merge_config("s", "a = ", {}, {"a": 1})
