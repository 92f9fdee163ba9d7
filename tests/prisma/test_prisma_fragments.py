"""Fragments of many Systems make one schema, in whatever order, and nobody wins by coming last."""

import asyncio
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.prisma.fragments import merge, remove
from shared.prisma.ownership import Conflict, Conflicts, Unified
from shared.prisma.parser import InvalidSchema, PrismaSchema
from shared.prisma.unified import unify

Files = dict[str, str]
EXAMPLE = Path(__file__).parents[2] / "examples/project/prisma/schema"
TYPES = ("String", "Int", "DateTime", "String?", "Boolean @default(false)", 'String @default("a // {")')


@st.composite
def worlds(draw: st.DrawFn) -> Files:
    """Systems with models; a later one may refer to an earlier one's, with a field on the other side."""
    count = draw(st.integers(1, 4))
    files: Files = {"main.prisma": 'datasource db {\n  provider = "postgresql"\n}\n'}
    models: list[tuple[str, str]] = []
    for system in range(count):
        text, extensions = "", ""
        for number in range(draw(st.integers(1, 2))):
            name = f"M{system}{number}"
            lines = ["  id Int @id"]
            for at, kind in enumerate(draw(st.lists(st.sampled_from(TYPES), max_size=3))):
                lines += [f"  /// @mask {draw(st.sampled_from(('keep', 'hash')))}"] * draw(st.integers(0, 1))
                lines.append(f"  f{at} {kind}{draw(st.sampled_from(('', ' // why not', ' ')))}")
            related: bool = draw(st.booleans())
            if models and related:
                owner, to = draw(st.sampled_from(models))
                lines += [f"  to {to} @relation(fields: [toId], references: [id])", "  toId Int"]
                if owner == f"s{system}":
                    text = text.replace(f"model {to} {{\n", f"model {to} {{\n  by{name} {name}[]\n")
                else:
                    extra = draw(st.sampled_from(("", "  note" + name + " String?\n")))
                    extensions += f"\n/// @extends {owner}\nmodel {to} {{\n  by{name} {name}[]\n{extra}}}\n"
            models.append((f"s{system}", name))
            text += f"\nmodel {name} {{\n" + "\n".join(lines) + f'\n\n  @@map("t_{name}")\n}}\n'
        files[f"prisma/schema/s{system}.prisma"] = text + extensions
    return files


def unified(files: Files) -> Unified:
    merged = merge(files)
    assert isinstance(merged, Unified), merged
    return merged


@settings(deadline=None)
@given(worlds(), st.randoms())
def test_the_order_of_the_files_does_not_matter(files: Files, random: Random) -> None:
    paths = [*files]
    random.shuffle(paths)
    assert merge({path: files[path] for path in paths}) == merge(files)


@settings(deadline=None)
@given(worlds())
def test_what_is_merged_stays_as_it_is(files: Files) -> None:
    once = unified(files).files
    assert unified(dict(once)).files == once


@settings(deadline=None)
@given(worlds())
def test_every_line_is_somebodys(files: Files) -> None:
    merged = unified(files)
    for path, text in merged.files.items():
        lines = [files[file].split("\n")[line - 1] for file, line in merged.origins[path]]
        assert lines == text.split("\n")


@settings(deadline=None)
@given(worlds())
def test_a_system_that_comes_and_goes_leaves_no_trace(files: Files) -> None:
    *_, last = sorted(path for path in files if path != "main.prisma")
    before = {path: text for path, text in files.items() if path != last}
    after = remove(files, Path(last).stem)
    assert after == before
    assert merge(dict(before)) == merge(dict(before) | {})


@settings(max_examples=15, deadline=None)
@given(worlds())
def test_prisma_itself_finds_the_whole_valid(files: Files) -> None:
    assert asyncio.run(unify(PRISMA, files)) == unified(files)
    for owner in {Path(path).stem for path in files} - {"main"}:
        left = remove(files, owner)
        if not isinstance(left, Conflicts):
            assert owner not in asyncio.run(unify(PRISMA, left)).owners.values()


PRISMA = PrismaSchema()


@settings(deadline=None)
@given(worlds(), st.data())
def test_every_conflict_names_both_sides(files: Files, data: st.DataObject) -> None:
    """Somebody reopens a model and says a field otherwise, or defines it again."""
    victim = data.draw(st.sampled_from([name for name in unified(files).owners if name.startswith("M")]))
    owner = unified(files).owners[victim]
    mark = data.draw(st.sampled_from(("", f"/// @extends {owner}\n")))
    files["zz.prisma"] = f"{mark}model {victim} {{\n  id BigInt @id\n}}\n"
    found = merge(files)
    assert isinstance(found, Conflicts)
    for conflict in found.conflicts:
        assert {conflict.one.owner, conflict.other.owner} == {owner, "zz"}
        for side in (conflict.one, conflict.other):
            file, line = side.place
            assert " ".join(files[file].split("\n")[line - 1].split()) in side.says + " {"


AUTH = """
enum Role {
  ADMIN
}
/// A person.
model User {
  id Int @id
  /// @mask email
  mail String

  @@map("users")
}
"""
QUOTES = """
model Quote {
  id     Int  @id
  user   User @relation(fields: [userId], references: [id])
  userId Int
}
/// @extends auth
model User {
  quotes Quote[]
  /// How many we made.
  made   Int     @default(0)
  @@index([made])
}
"""
FILES = {"auth.prisma": AUTH, "quotes.prisma": QUOTES}


def only(found: Unified | Conflicts | object) -> Conflict:
    assert isinstance(found, Conflicts)
    (conflict,) = found.conflicts
    return conflict


def test_fields_go_into_the_owners_model_and_keep_their_owner() -> None:
    merged = unified(FILES)
    assert "User" not in merged.files["quotes.prisma"].replace("user   User", "")
    model = merged.files["auth.prisma"].partition("model User {\n")[2]
    assert [line.split()[0] for line in model.splitlines() if line.strip()] == [
        *("id", "///", "mail", "quotes", "///", "made", '@@map("users")', "@@index([made])", "}")
    ]
    assert merged.owners == {"Role": "auth", "User": "auth", "Quote": "quotes"}
    assert merged.field_owners["User", "mail"] == ("auth",)
    assert merged.field_owners["User", "made"] == ("quotes",)


def test_the_same_said_twice_has_two_owners() -> None:
    more = "/// @extends auth\nmodel User {\n  made   Int @default( 0 )  // ours too\n  id Int @id\n}\n"
    merged = unified({**FILES, "reports.prisma": more})
    assert merged.field_owners["User", "made"] == ("quotes", "reports")
    assert merged.field_owners["User", "id"] == ("auth", "reports")
    assert merged.files["auth.prisma"] == unified(FILES).files["auth.prisma"]


def reopening(line: str, owner: str = "auth", model: str = "User") -> str:
    return f"/// @extends {owner}\nmodel {model} {{\n  {line}\n}}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            reopening("mail String?"),
            "User.mail is said differently: auth.prisma:9 (@mask email mail String) against x.prisma:3",
        ),
        (reopening("mail String"), "User.mail is said differently"),
        (reopening("made BigInt?"), "User.made is said differently: quotes.prisma:11"),
        ("model User {\n}", "User is defined twice: auth.prisma:6 (model User) against x.prisma:1"),
        ("model Role {\n}", "Role is defined twice: auth.prisma:2 (enum Role)"),
        (reopening("a Int?", "quotes"), "User is auth's, not quotes's"),
        (
            reopening("a Int?", "ghost", "Ghost"),
            "is not there to be reopened: ghost.prisma:1 (is not there) against x.prisma:2 (@extends ghost",
        ),
        (reopening("a Int?", "auth", "Ghost"), "auth.prisma:1 (has no such model) against x.prisma:2"),
        ("/// @extends auth\nenum Role {\n  USER\n}", "Role is no model that auth has"),
        (reopening("a Int"), "User.a is required, and its owner's code would not fill it"),
        (reopening("a Role"), "User.a is required"),
        (reopening('@@map("people")'), "User.@@map is said differently"),
        (reopening("@@unique([mail])"), "User @@unique is for the model's owner to say"),
        ("model A {\n  id Int @id\n  id Int\n}", "A.id is said differently: x.prisma:2"),
    ],
)
def test_disputes_are_named_with_both_places(text: str, words: str) -> None:
    assert words in str(only(merge({**FILES, "x.prisma": text})))


def test_a_system_that_others_need_does_not_go() -> None:
    assert remove(FILES, "quotes") == {"auth.prisma": AUTH}
    enum = {**FILES, "x.prisma": "model X {\n  id Int @id\n  r Role\n}\n"}
    found = remove(enum, "auth")
    assert isinstance(found, Conflicts)
    assert "Quote.user needs User, which goes with auth: quotes.prisma:4" in str(found.conflicts[0])
    # What quotes stores in the model that goes would be lost too.
    assert [conflict.subject for conflict in found.conflicts] == [
        "Quote.user",
        "User.made",
        "X.r",
    ]


async def test_the_example_project_is_one_schema() -> None:
    files = {path.name: path.read_text() for path in EXAMPLE.glob("*.prisma")}
    merged = await unify(PRISMA, files)
    dmmf = await PRISMA.get_dmmf(merged.files)
    user = next(model for model in dmmf["datamodel"]["models"] if model["name"] == "User")
    assert {"quotes", "invitations", "sessions"} <= {each["name"] for each in user["fields"]}


async def test_prismas_errors_are_told_where_they_were_written() -> None:
    wrong = QUOTES.replace("quotes Quote[]", "quotes Quota[]").replace("userId Int", "userId Integer")
    with pytest.raises(InvalidSchema) as refused:
        await unify(PRISMA, {"auth.prisma": AUTH, "quotes.prisma": wrong})
    assert {("quotes.prisma", 5), ("quotes.prisma", 9)} <= {(p.file, p.line) for p in refused.value.problems}
    with pytest.raises(InvalidSchema, match=r"b\.prisma:2: model B is never closed"):
        await unify(PRISMA, {"b.prisma": "\nmodel B {\n"})
    with pytest.raises(InvalidSchema, match=r"b\.prisma:1: User is defined twice"):
        await unify(PRISMA, {**FILES, "b.prisma": "model User {\n  id Int @id\n}\n"})
