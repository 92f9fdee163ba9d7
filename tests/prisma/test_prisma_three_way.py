"""A partner's edits of a fragment and its new version: different fields never conflict, the same one does."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.prisma.parser import PrismaSchema
from shared.prisma.three_way import ThreeWay, merge_fragment

LABELS = ("acme-portal", "auth-system-1.3.0")
PRISMA = PrismaSchema()
BASE = """// Signing in.

enum Role {
  ADMIN
  USER
}

/// A person.
model User {
  id    Int    @id
  /// @mask email
  mail  String @unique
  name  String
  role  Role   @default(USER)

  @@map("users")
}

model Session {
  id Int @id
}
"""
NAMES = ("alpha", "beta", "gamma", "delta", "mail", "name")
TYPES = ("String?", "Int?", 'String? @default("x")', "DateTime?")


def merged(base: str, ours: str, theirs: str) -> ThreeWay:
    found = merge_fragment(base, ours, theirs, LABELS)
    assert found is not None
    return found


@st.composite
def edits(draw: st.DrawFn) -> dict[str, str | None]:
    """By field of User, what it becomes: other words, or nothing."""
    kinds = st.sampled_from((*TYPES, None))
    return draw(st.dictionaries(st.sampled_from(NAMES), kinds, max_size=4))


def edited(text: str, changes: dict[str, str | None], *, after: str = "id") -> str:
    lines = text.split("\n")
    for name, kind in changes.items():
        there = [at for at, line in enumerate(lines) if line.startswith(f"  {name} ")]
        if there:
            first = there[0] - (kind is None and "///" in lines[there[0] - 1])
            lines[first : there[0] + 1] = [] if kind is None else [f"  {name} {kind}"]
        elif kind is not None:
            at = next(
                at for at, line in enumerate(lines) if line.startswith(f"  {after} ") and "Int " in line
            )
            lines.insert(at + 1, f"  {name} {kind}")
    return "\n".join(lines)


def fields(text: str) -> dict[str, str]:
    """The fields of User, without layout."""
    body = text.partition("model User {\n")[2].partition("\n}")[0]
    plain = [line.split() for line in body.split("\n")]
    return {words[0]: " ".join(words[1:]) for words in plain if words and words[0][0] not in "/@"}


@settings(deadline=None)
@given(edits(), edits())
def test_each_side_gets_what_it_alone_changed(
    ours: dict[str, str | None], theirs: dict[str, str | None]
) -> None:
    changed = [edited(BASE, ours), edited(BASE, theirs)]
    was, mine, new = (fields(text) for text in (BASE, *changed))
    names = was.keys() | mine.keys() | new.keys()
    found = merged(BASE, *changed)
    assert {conflict.partition(": ")[2] for conflict in found.conflicts} == {
        name
        for name in names
        if mine.get(name) != new.get(name) and was.get(name) not in (mine.get(name), new.get(name))
    }
    if not found.conflicts:
        wanted = {name: (new if mine.get(name) == was.get(name) else mine).get(name) for name in names}
        assert fields(found.text) == {name: kind for name, kind in wanted.items() if kind is not None}
        assert "<<<<<<<" not in found.text


@settings(deadline=None)
@given(edits())
def test_one_side_alone_is_taken_as_it_is(changes: dict[str, str | None]) -> None:
    changed = edited(BASE, changes)
    assert merged(BASE, changed, BASE) == ThreeWay(changed, ())
    assert merged(BASE, BASE, changed) == ThreeWay(changed, ())
    assert merged(BASE, changed, changed) == ThreeWay(changed, ())


@settings(deadline=None, max_examples=20)
@given(edits(), edits())
def test_what_is_merged_is_a_schema(ours: dict[str, str | None], theirs: dict[str, str | None]) -> None:
    found = merged(BASE, edited(BASE, ours), edited(BASE, theirs))
    if not found.conflicts:
        asyncio.run(PRISMA.validate({"a.prisma": found.text}))


def test_new_fields_at_one_place_and_a_realigned_column_are_no_conflict() -> None:
    ours = BASE.replace("  name  String\n", "  name  String\n  nick  String?\n")
    theirs = BASE.replace("  name  String\n", "  name  String\n  since DateTime?\n").replace(
        "  role  Role   @default(USER)", "  role      Role      @default( USER )"
    )
    found = merged(BASE, ours, theirs)
    assert found.conflicts == ()
    assert found.text == theirs.replace("  name  String\n", "  name  String\n  nick  String?\n")


def test_blocks_come_and_go_and_comments_stay() -> None:
    ours = (
        BASE.replace("// Signing in.", "// Signing in, our way.")
        + "\n/// Ours.\nmodel Badge {\n  id Int @id\n}\n"
    )
    theirs = BASE.replace("\nmodel Session {\n  id Int @id\n}\n", "\nmodel Token {\n  id Int @id\n}\n")
    found = merged(BASE, ours, theirs)
    assert found.conflicts == ()
    assert found.text.startswith("// Signing in, our way.\n\nenum Role {")
    assert "model Session" not in found.text
    assert "\n\nmodel Token {\n" in found.text
    assert "\n\n/// Ours.\nmodel Badge {\n" in found.text


@pytest.mark.parametrize(
    ("ours", "theirs", "subject", "shown"),
    [
        (
            ("name  String\n", "name  String @db.Text\n"),
            ("name  String\n", "name  String?\n"),
            "model User: name",
            "<<<<<<< acme-portal\n  name  String @db.Text\n=======\n  name  String?\n>>>>>>> auth-sys",
        ),
        (
            ("@mask email", "@mask keep"),
            ("@mask email", "@mask hash"),
            "model User: mail",
            "  /// @mask keep\n",
        ),
        (
            ('@@map("users")', '@@map("people")'),
            ('@@map("users")', '@@map("users2")'),
            "model User: @@map",
            "people",
        ),
        (("  ADMIN\n", '  ADMIN @map("a")\n'), ("  ADMIN\n", ""), "enum Role: ADMIN", "=======\n>>>>>>>"),
        (
            ("\nmodel Session {\n  id Int @id\n}\n", ""),
            ("  id Int @id\n}", "  id Int @id\n  at Int?\n}"),
            "model Session",
            "<<<<<<< acme-portal\n=======\nmodel Session {",
        ),
        (
            ("/// A person.", "/// Somebody."),
            ("/// A person.", "/// A user."),
            "model User",
            "/// Somebody.\n=======\n",
        ),
    ],
)
def test_the_same_changed_twice_is_shown_with_both(
    ours: tuple[str, str], theirs: tuple[str, str], subject: str, shown: str
) -> None:
    found = merged(BASE, BASE.replace(*ours), BASE.replace(*theirs))
    assert found.conflicts == (subject,)
    assert shown in found.text


def test_what_cannot_be_taken_apart_is_left_to_git() -> None:
    for odd in ("model A {\n", "model A {\n  id Int @id\n}\nmodel A {\n  id Int @id\n}\n"):
        assert merge_fragment(BASE, odd, BASE + "\n", LABELS) is None
