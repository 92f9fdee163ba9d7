"""Every refusal of a package in plain words: field, line, reason and cure, all at once."""

import re

import pytest

from services.registry.domain.gate import Library, judge
from shared.errors import Reject
from shared.packages.package import read_package
from tests.registry.registry_world import files, pack

JARGON = re.compile(r"Input|String should|Extra inputs|SemVer|tuple|\bdict|pydantic|\^\[|Traceback|NoneType")
SCHEMA = "prisma/schema.prisma"
HEAD = 'name = "auth-system"\nversion = "1.2.4"\nsummary = "x"\n'


def refusals(contents: dict[str, str]) -> list[tuple[str, str]]:
    """The fields and reasons, each with a cure and in plain words."""
    try:
        found = judge(read_package(pack(contents)), Library()).refusals
    except Reject as rejected:
        found = rejected.refusals
    for each in found:
        assert each.field
        assert each.cure
        assert each.cure != each.reason
        assert not JARGON.search(f"{each.reason} {each.cure} {each.field}"), each
    return [(each.field or "", each.reason) for each in found]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HEAD}colour = 1\n", [("colour", "line 4: there is no such key")]),
        (f"{HEAD}breaking = 'all'\n", [("breaking", "line 4: it is no list")]),
        (f"{HEAD}required = 'perhaps'\n", [("required", "line 4: it is neither true nor false")]),
        (f"{HEAD}files = 1\n", [("files", "line 4: it is no table")]),
        (
            f"{HEAD}[config]\nborn = 2020-01-01\n",
            [("config.born", "line 5: a date or a time cannot be kept")],
        ),
        (
            f"{HEAD}[requires] # two\n\na = 1\nb.c = 2\n",
            [("requires.a", "line 6: it is no text"), ("requires.b", "line 7: it is no text")],
        ),
        (f"{HEAD}files = {{ colour = 1 }}\n", [("files.colour", "line 4: there is no such key")]),
        (HEAD.replace("1.2.4", "1.2"), [("version", "line 2: 1.2 is no version")]),
        (HEAD.replace("auth-", "Auth_"), [("name", "line 1: it is no name")]),
        (HEAD.replace('"x"', '"""a\nb"""'), [("summary", "line 3: it has several lines")]),
        (HEAD.replace('"x"', '""'), [("summary", "line 3: it is empty")]),
        (HEAD.replace('"x"', f'"{"x" * 201}"'), [("summary", "line 3: it has more than 200 characters")]),
        (HEAD.replace('summary = "x"', ""), [("summary", "this key is missing")]),
        (f"\ufeff{HEAD}colour = 1\n".replace("\n", "\r\n"), [("colour", "line 4: there is no such key")]),
    ],
)
def test_a_manifest_is_refused_by_line_in_plain_words(text: str, said: list[tuple[str, str]]) -> None:
    found = refusals(files(changed={"system.toml": text}))
    assert len(found) == len(said)
    for (field, reason), (key, words) in zip(sorted(found), said, strict=True):
        assert field == f"system.toml: {key}" or field.startswith(f"system.toml: {key}.")
        assert reason.startswith(words)


def test_what_is_wrong_with_names_files_and_texts_is_said_at_once() -> None:
    """One bad name hides nothing of the rest."""
    found = refusals(
        files(
            manifest="colour = 1\n",
            changed={
                "MIGRATION.md": "## 1.2.3\n",
                "files/CON": "x",
                "NOTES.md": "x",
                "prisma/migrations/init/migration.sql": "select 1;",
            },
        )
    )
    assert sorted(field for field, _ in found) == [
        "MIGRATION.md",
        "NOTES.md",
        "files/CON",
        "prisma/migrations/init",
        "system.toml: colour",
    ]


def test_a_mask_rule_that_no_copy_would_understand_is_refused_by_its_line() -> None:
    fragment = "model User {\n  id Int @id\n  /// @mask emial\n  mail String\n  /// @mask\n  note String\n}\n"
    found = refusals(files(changed={SCHEMA: fragment}))
    assert found == [
        (SCHEMA, "line 4: emial is no mask rule"),
        (SCHEMA, "line 6: nothing is no mask rule"),
    ]
