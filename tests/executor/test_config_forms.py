"""Every form of TOML that is valid merges: what is not of a changed key stays to the byte, and nothing else
is said than a merge of the values says.
"""

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.executor.stages.config_merge import UnreadableConfig, merge_config
from shared.toml_layout import layout_of

FORMS = {
    "a table behind its child, and a later child": "[mail]\n[mail.limits.hourly]\nmost = 10\n[mail.limits]\n"
    "burst = 3\n[sessions]\nminutes = 45\n[mail.limits.daily]\nmost = 100\n",
    "dotted keys in and out of tables": "mail.limits.most = 1\nmail.name = 'x'\n[a]\nb.c.d = 1\nb.c.e = 2\n",
    "inline tables": "mail = { limits = { most = 1, 'per hour' = true }, name = \"x\" } # ours\n",
    "inline tables without anything": "a = {}\nmail = {  }\nt = { u = {} }",
    "arrays of tables": "[[rules]]\nname = 'a'\n[rules.when]\nday = 1\n[[rules]]\nname = 'b'\n"
    "[[rules.then]]\nx = 1\n",
    "arrays over lines": "hosts = [\n  'a', # first\n  'b',\n  [1, 2], { x = ']' },\n]\n",
    "texts over lines": "a = \"\"\"\n[not.a.table]\nb = 1 # no comment\n"
    "\\\"\"\"\"\"\"\nc = '''\n'x' = {'''\n",
    "dates, times and numbers": ""
    "a = 1979-05-27T07:32:00z\nb = 1979-05-27 07:32:00.999999-07:00\nc = 07:32:00\n"
    "d = 1979-05-27\ne = [nan, -inf, +nan]\nf = 0xDEAD_BEEF\ng = 1_000.5e-3\nh = -0.0\n",
    "quoted keys": "\"a.b\" = 1\n'c\"d' = 2\n\"\" = 3\n[\"x y\".'z']\n\"\\u00e9\" = 4\n",
    "odd spaces": "a=1\n  b  =  2  #x\n[ t . u ]   # y\n\tc = 3\n\n\n   [ v ]\n",
    "comments alone": "# a\n\n# b",
    "a header without a last newline": "a = 1\n[t]",
    "nothing": "",
}  # fmt: skip
OLD: dict[str, Any] = {"other": {"days": 1}}
NEW: dict[str, Any] = {
    "sessions": {"most": 5},
    "plain": True,
    "new": {"deep": {"er": "é\x7f\t\"'"}},
    "mail": {"limits": {"added": [1, {"x": 1}]}},
    "a": {"b": {"c": {"added": 1.5}}, "added": []},
    "t": {"u": {"added": 1}},
}


def spelled(values: Any) -> Any:
    """Values that can be compared: nan is nan, and 1 is neither 1.0 nor true."""
    if isinstance(values, dict):
        return {name: spelled(value) for name, value in values.items()}
    return [spelled(value) for value in values] if isinstance(values, list) else repr(values)


def expected(project: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The Project's values with every default that it lacks, except below a value of its own."""
    for name, value in new.items():
        if not isinstance(value, dict):
            project.setdefault(name, value)
        elif isinstance(project.get(name, {}), dict):
            project[name] = expected(project.get(name, {}), value)
    return project


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_takes_new_keys_and_keeps_its_own_bytes(form: str, newline: str) -> None:
    text = FORMS[form].replace("\n", newline)
    found = merge_config("s", text, OLD, NEW).text
    assert found is not None
    assert spelled(tomllib.loads(found)) == spelled(expected(tomllib.loads(text), NEW))
    assert is_within(text, found)
    assert "\n" not in found.replace("\r\n", "") or "\r\n" not in text
    # A byte order mark is no part of the first key.
    marked = merge_config("s", "\ufeff" + text, OLD, NEW).text
    assert marked == "\ufeff" + found
    assert merge_config("s", found, NEW, NEW).text == found


def is_within(text: str, longer: str) -> bool:
    """Whether every character of a text is there in its order: nothing was taken away or written anew."""
    rest = iter(longer)
    return all(each in rest for each in text)


def test_only_the_changed_values_change() -> None:
    text = (
        "# of ours\n[a]  # a\nx   =  1 # keep\ny = [ 1,\n 2 ] # list\n"
        "z = { p = 1 ,  q = 'two', r = { s = 3 } }\n"
        "[b]\n# inside\nonly = 1\n\n[[list]]\nn = 1\n[[list]]\nn = 2\n[c]\nw = 1979-05-27\n"
    )
    old: dict[str, Any] = {
        "a": {"x": 1, "y": [1, 2], "z": {"p": 1, "q": "two", "r": {"s": 3}}},
        "b": {"only": 1},
        "list": [{"n": 1}, {"n": 2}],
        "c": {"w": "1979-05-27"},
    }
    new: dict[str, Any] = {
        "a": {"x": 2, "y": [1, 2, 3], "z": {"q": "2", "r": {"s": 4, "t": 5}}},
        "list": [],
        "c": {"w": "1979-05-28"},
    }
    # A date is no text: the Project has set it itself.
    assert merge_config("s", text, old, new).text == (
        "list = []\n\n# of ours\n[a]  # a\nx   =  2 # keep\ny = [1, 2, 3] # list\n"
        'z = { q = "2", r = { s = 4, t = 5 } }\n'
        "# inside\n\n[c]\nw = 1979-05-27\n"
    )


@pytest.mark.parametrize(
    "text", ["a = 1\na = 2", "[a]\n[a]", "a = ", "a = {\nb = 1}", "a.b = 1\n[a]", "\x00", "a = 1 b = 2"]
)
def test_what_is_not_toml_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(UnreadableConfig, match=r"\(at (line \d|end of document)"):
        merge_config("s", text, {}, {"c": 1})


NAMES = st.sampled_from(["a", "b", "c d", "", "é", 'q"', "1"])
TEXTS = st.text("x]}#=,'\"\\\n\t\x7f", max_size=4)
SCALARS = st.one_of(
    st.booleans(), st.integers(-9, 9), st.floats(), st.dates(), TEXTS
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
TREES = st.recursive(
    VALUES, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
).filter(lambda tree: isinstance(tree, dict))  # fmt: skip
"""Tables within tables."""
DEFAULTS = st.dictionaries(
    NAMES,
    st.recursive(
        st.one_of(st.booleans(), st.integers(-2, 2), st.lists(st.integers(0, 2), max_size=2), TEXTS),
        lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def written(draw: st.DrawFn, tree: dict[str, Any]) -> str:
    """A text that says these values, in a style that is drawn for each table."""
    lines: list[str] = []
    later: list[tuple[tuple[str, ...], dict[str, Any]]] = []

    def body(table: dict[str, Any], path: tuple[str, ...], prefix: tuple[str, ...]) -> None:
        for name, value in table.items():
            spelling = ".".join(key(part) for part in (*prefix, name))
            style = draw(st.sampled_from("hdi")) if isinstance(value, dict) else "i"
            if style == "h" and not prefix:
                later.append(((*path, name), value))
            elif style == "d" and value:
                body(value, path, (*prefix, name))
            else:
                lines.append(
                    f"{draw(SPACES)}{spelling}{draw(SPACES)}={draw(SPACES)}{term(value)}{draw(ENDS)}"
                )

    def key(part: str) -> str:
        return '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def term(value: Any) -> str:
        match value:
            case bool():
                return str(value).lower()
            case str():
                return (
                    '"'
                    + "".join(f"\\u{ord(one):04x}" if one in '"\\\n\t\x7f' else one for one in value)
                    + '"'
                )
            case list():
                return "[" + draw(SPACES) + ",".join(map(term, value)) + "]"
            case dict():
                return "{" + ", ".join(f"{key(name)} = {term(each)}" for name, each in value.items()) + "}"
            case float() | int():
                return repr(value)
            case _:
                return str(value.isoformat())

    body(tree, (), ())
    while later:
        path, table = later.pop(draw(st.integers(0, len(later) - 1)))
        lines.append(f"{draw(SPACES)}[{'.'.join(map(key, path))}]{draw(ENDS)}")
        body(table, path, ())
    return "".join(lines)


SPACES = st.sampled_from(["", " ", "\t"])
ENDS = st.sampled_from(["\n", " # it's = [ours\n", "\r\n", "\n\n# x\n"])


@settings(max_examples=200, deadline=None)
@given(st.data(), TREES, DEFAULTS, DEFAULTS)
def test_a_text_says_what_a_merge_of_its_values_says(
    data: st.DataObject, tree: dict[str, Any], old: dict[str, Any], new: dict[str, Any]
) -> None:
    """Values alone, in plain dictionaries, against the text; and the lines of keys that did not change."""
    project = {**old, **tree} if data.draw(st.booleans()) else tree
    text = data.draw(written(project))
    assert spelled(tomllib.loads(text)) == spelled(project)
    merged = merge_config("s", text, old, new)
    assert merged.text is not None
    result, before = flat(tomllib.loads(merged.text)), flat(project)
    changed = {change.key for change in merged.changes if not change.kept}
    for key, value in before.items():
        if ".".join(key) not in changed and not any(".".join(key[:n]) in changed for n in range(len(key))):
            assert result[key] == value
    defaults, wanted = flat(old), flat(new)
    for key, value in wanted.items():
        if before.get(key) == defaults.get(key) != value and key in before:
            assert result[key] == value
    # What stands in no changed entry is there as it was.
    lines = [text[each.start : each.end] for each in layout_of(text).entries]
    kept = [line for line in lines if line in merged.text]
    assert len(lines) - len(kept) <= len(changed)


def flat(values: Any, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    found: dict[tuple[str, ...], str] = {}
    for name, value in values.items():
        found |= flat(value, (*above, name)) if isinstance(value, dict) else {(*above, name): repr(value)}
    return found
