"""TOML that stops its reader: what is too large, too deep or too dotted is refused before it is parsed.

Without the bounds a key of 100,000 dots stopped every service of a world, and nested brackets or a long
number came out as errors that nobody had foreseen.
"""

import time
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.bounds import DEPTH_MAX, FILE_BYTES_MAX
from shared.contracts.refusals import Refusal
from shared.declarations import parse_toml
from shared.errors import Reject
from shared.toml_bounds import KEY_PARTS_MAX, bound_toml

CPU_S_MAX = 2.0
LARGE = FILE_BYTES_MAX


def verdict(text: str) -> str:
    """`read`, or the reason of the refusal; never slow, and no other error."""
    began = time.thread_time()
    refusals: tuple[Refusal, ...] = ()
    try:
        parse_toml(text, file="x.toml")
    except Reject as rejected:
        refusals = rejected.refusals
    assert time.thread_time() - began < CPU_S_MAX
    assert all(each.field == "x.toml" and each.cure and len(each.reason) < 500 for each in refusals)
    return refusals[0].reason if refusals else "read"


REFUSED = {
    "dots": ("a." * 100_000 + "b = 1", "more than 50 parts"),
    "dots in a header": ("[" + "a." * 60_000 + "b]", "more than 50 parts"),
    "dots in an array's header": ("[[" + "a." * 60_000 + "b]]", "more than 50 parts"),
    "dots in an inline table": ("x = {" + "a." * 60_000 + "b = 1}", "more than 50 parts"),
    "spaced dots": ("a . " * 60_000 + "b = 1", "more than 50 parts"),
    "quoted dots": ('"a".' * 60_000 + "b = 1", "more than 50 parts"),
    "literal dots": ("'a'." * 60_000 + "b = 1", "more than 50 parts"),
    "many dotted keys": ("".join("a." * 48 + f"b{n} = 1\n" for n in range(2_000)), "too many long keys"),
    "keys below long headers": ("[" + "a." * 48 + "b]\n" + "a=1\n" * 60_000, "too many long keys"),
    "many long headers": ("".join("[" + "a." * 48 + f"b{n}]\n" for n in range(2_000)), "too many long keys"),
    "lists": ("x = " + "[" * 5_000 + "]" * 5_000, "more than 50 deep"),
    "open lists": ("x = " + "[" * 100_000, "more than 50 deep"),
    "lists over lines": ("x = " + "[\n" * 5_000 + "]" * 5_000, "more than 50 deep"),
    "lists behind remarks": ("x = " + "[ # [\n" * 5_000, "more than 50 deep"),
    "inline tables": ("x = " + "{a=" * 5_000 + "1" + "}" * 5_000, "more than 50 deep"),
    "both": ("x = " + "[{a=" * 2_500 + "1" + "}]" * 2_500, "more than 50 deep"),
    "deep through dots": (
        "x = " + ("{" + "a." * 40 + "a=") * 40 + "1" + "}" * 40,
        "nested more than 50 deep",
    ),
    "digits": ("x = " + "9" * 5_000, "no TOML"),
    "more than 64 bits": ("x = 9223372036854775808", "64 bits"),
    "hexadecimal": ("x = 0x" + "f" * 100_000, "64 bits"),
    "large": ("#" + " " * LARGE, "KiB"),
    "large in bytes": ("#" + "\u4e2d" * (LARGE // 3 + 1), "KiB"),
    "NUL": ('x = "a\\u0000b"', "NUL"),
    "NUL in a key": ('"a\\u0000b" = 1', "NUL"),
    "no end": ('x = """' + '\\"""' * (LARGE // 4 - 4), "no TOML"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_stop_a_reader_is_refused_at_once(name: str) -> None:
    text, reason = REFUSED[name]
    assert reason in verdict(text)


def test_the_refusal_names_the_line() -> None:
    assert "at line 3" in verdict("a = 1\nb = 2\n" + "a." * 100 + "b = 1")
    assert "at line 5" in verdict('a = """\n\n\n"""\nx = ' + "[" * 100)


READ = {
    "as many dots as may be": "a." * (KEY_PARTS_MAX - 2) + "b = 1",
    "as deep as may be": "x = " + "[" * (DEPTH_MAX - 1) + "]" * (DEPTH_MAX - 1),
    "dots in text": f'x = "{"a." * 10_000}"',
    "dots in a remark": "# " + "a." * 10_000,
    "brackets in text": "x = '" + "[" * 10_000 + "'",
    "brackets in long text": 'x = """' + "[\n" * 10_000 + '"""',
    "brackets in long literal text": "x = '''" + "[\n" * 10_000 + "'''",
    "quotes before the end": "x = \"\"\"a\"\"\"\"\ny = [[1]]\nz = '''b'''''\n",
    "brackets one after another": "x = [" + "[]," * 10_000 + "]",
    "many keys": "".join(f"key-{number} = {number}\n" for number in range(10_000)),
    "many tables": "".join(f"[table.{number}]\nx = 1.5\n" for number in range(5_000)),
    "64 bits": "x = 9223372036854775807\ny = -9223372036854775808",
}


@pytest.mark.parametrize("name", READ)
def test_what_honest_people_write_is_read(name: str) -> None:
    assert verdict(READ[name]) == "read"


PIECES = st.sampled_from(
    [
        "a",
        "b",
        ".",
        "=",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\n",
        " ",
        '"',
        "'",
        '"""',
        "'''",
        "\\",
        "#",
        "1",
        "1.5",
        "\r\n",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=200).map("".join))
def test_no_text_is_anything_but_read_or_refused(text: str) -> None:
    verdict(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=60).map("".join), st.sampled_from(["a." * 60 + "b = 1", "c = " + "[" * 60]))
def test_nothing_that_is_written_before_hides_what_is_too_deep(before: str, after: str) -> None:
    """The scan and the parser agree on where strings and remarks end, as far as the parser comes."""
    try:
        tomllib.loads(before)
    except tomllib.TOMLDecodeError:
        return
    with pytest.raises(ValueError, match="more than 50"):
        bound_toml(f"{before}\n{after}")
