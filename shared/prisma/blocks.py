"""A schema file taken apart into blocks and members, each with its lines.

The official parser says whether a file is valid, and its data model leaves out what Prisma's client does not
serve (`@ignore`, `Unsupported`). Who wrote which line, and every column there is, is read here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from shared.bounds import DEPTH_MAX, OutOfBounds, bounded_size
from shared.reading.progress import now_reading

Kind = Literal["model", "view", "enum", "type", "datasource", "generator"]
SCALARS = frozenset(
    {"String", "Boolean", "Int", "BigInt", "Float", "Decimal", "DateTime", "Json", "Bytes", "Unsupported"}
)
_OPENING = re.compile(rf"(?P<kind>{'|'.join(get_args(Kind))})\s+(?P<name>\w+)\s*\{{$")
# Each takes what it begins to its end, also where that is missing: so that no text is gone through twice.
_STRING = r'"(?:\\[^\n]|[^"\\\n])*+"?'
_COMMENT = re.compile(rf"{_STRING}|(?P<doc>///[^\n]*)|(?P<comment>//[^\n]*|/\*.*?(?:\*/|\Z))", re.DOTALL)
_TOKEN = re.compile(rf"{_STRING}|[\w@.]+|\S")
_EXTENDS = re.compile(r"@extends\s+(?P<owner>\S+)")
# Of these a block has one; of other attributes it may have several.
_SINGLE = frozenset({"@@map", "@@schema", "@@id", "@@ignore"})


LINE_CHARACTERS_MAX = 8_000
_BRACKET = re.compile(r"[\[\](){}]")


class Unreadable(ValueError):
    """A file that cannot be taken apart; `line` counts from 1."""

    def __init__(self, path: str, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")
        self.path, self.line, self.message = path, line, message

    def __reduce__(self) -> tuple[type["Unreadable"], tuple[str, int, str]]:
        return type(self), (self.path, self.line, self.message)


@dataclass(frozen=True)
class Member:
    """A field, a value or an attribute of a block: the lines `first` to `line`, from 0, with its comments.

    `tokens` is what it says, without comments and layout; `docs` the text of its `///` comments.
    """

    key: str
    tokens: tuple[str, ...]
    docs: tuple[str, ...]
    first: int
    line: int

    @property
    def annotations(self) -> tuple[str, ...]:
        """The `@…` lines of its comments, which say something to us."""
        return tuple(doc for doc in self.docs if doc.startswith("@"))

    @property
    def is_attribute(self) -> bool:
        return self.key.startswith("@@")

    @property
    def type(self) -> str:
        """A field's type, without `[]` and `?`."""
        return self.tokens[1] if len(self.tokens) > 1 else ""

    @property
    def is_list(self) -> bool:
        at = 5 if self.type == "Unsupported" else 2
        return self.tokens[at : at + 2] == ("[", "]")

    @property
    def is_optional(self) -> bool:
        return "?" in self.tokens[2:6]

    def argument(self, attribute: str) -> str | None:
        """The text of `attribute("text")` or `attribute(…, name: "text")`."""
        if attribute not in self.tokens:
            return None
        start = self.tokens.index(attribute) + 1
        depth = 0
        for at in range(start, len(self.tokens)):
            depth += {"(": 1, ")": -1}.get(self.tokens[at], 0)
            if depth == 0:
                return None
            named = self.tokens[at - 2 : at] == ("name", ":")
            if (at == start + 1 or named) and self.tokens[at].startswith('"'):
                return self.tokens[at][1:-1].replace('\\"', '"')
        return None

    def has(self, attribute: str) -> bool:
        return attribute in self.tokens


@dataclass(frozen=True)
class Block:
    """One block: `line` opens and `end` closes it, `first` is where its comments begin, all from 0."""

    kind: Kind
    name: str
    docs: tuple[str, ...]
    members: tuple[Member, ...]
    first: int
    line: int
    end: int

    @property
    def extends(self) -> str | None:
        """Whose block this reopens, by its `/// @extends`."""
        found = (_EXTENDS.match(doc) for doc in self.docs)
        return next((one["owner"] for one in found if one is not None), None)

    @property
    def fields(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if not member.is_attribute)

    def argument(self, attribute: str) -> str | None:
        """The text of a block attribute such as `@@map`."""
        found = (member.argument(attribute) for member in self.members if member.key == attribute)
        return next(found, None)


@dataclass(frozen=True)
class Fragment:
    """One schema file; `lines` are without their ends."""

    path: str
    lines: tuple[str, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class _Line:
    code: str
    docs: tuple[str, ...]
    bare: bool
    """Neither code nor comment: what stands before it belongs to nothing after it."""


def read_fragment(path: str, text: str) -> Fragment:
    """Take a file apart. What stands outside of blocks is kept as lines. Raises `Unreadable`."""
    now_reading(path)
    _bound(path, text)
    lines = tuple(text.split("\n"))
    return Fragment(path, lines, tuple(_blocks(path, _read_lines(text))))


def _bound(path: str, text: str) -> None:
    """Raises `Unreadable` for what is larger, wider or deeper than Prisma's parser can be given."""
    try:
        bounded_size(text)
    except OutOfBounds as error:
        raise Unreadable(path, 1, str(error)) from None
    depth = 0
    for number, line in enumerate(_COMMENT.sub(_without_comment, text).split("\n"), start=1):
        if len(line) > LINE_CHARACTERS_MAX:
            raise Unreadable(path, number, f"a line has more than {LINE_CHARACTERS_MAX} characters")
        for sign in _BRACKET.findall(line):
            depth = depth + 1 if sign in "([{" else max(0, depth - 1)
            if depth > DEPTH_MAX:
                raise Unreadable(path, number, f"brackets are nested more than {DEPTH_MAX} deep")


def _without_comment(found: re.Match[str]) -> str:
    """Neither words of comments nor of texts: a text may hold brackets."""
    if found["doc"] is not None or found["comment"] is not None:
        return "\n" * found[0].count("\n")
    return '"' + "_" * (len(found[0]) - 1)


def _read_lines(text: str) -> list[_Line]:
    docs: dict[int, list[str]] = {}
    number, counted = 0, 0

    def uncomment(found: re.Match[str]) -> str:
        nonlocal number, counted
        if found["doc"] is not None:
            number += text.count("\n", counted, found.start())
            counted = found.start()
            docs.setdefault(number, []).append(found["doc"][3:].strip())
            return ""
        return found[0] if found["comment"] is None else "\n" * found[0].count("\n")

    code = _COMMENT.sub(uncomment, text).split("\n")
    return [
        _Line(line.strip(), tuple(docs.get(number, ())), not raw.strip())
        for number, (line, raw) in enumerate(zip(code, text.split("\n"), strict=True))
    ]


def _blocks(path: str, lines: list[_Line]) -> Iterator[Block]:
    number, lead, documented = 0, 0, False
    while number < len(lines):
        opening = _OPENING.match(lines[number].code)
        documented = documented or bool(lines[number].docs)
        if opening is None:
            if lines[number].code or (lines[number].bare and not documented):
                lead, documented = number + 1, False
            number += 1
            continue
        end = next((at for at in range(number + 1, len(lines)) if lines[at].code == "}"), None)
        if end is None:
            raise Unreadable(path, number + 1, f"{opening['kind']} {opening['name']} is never closed")
        yield Block(
            kind=_kind(opening["kind"]),
            name=opening["name"],
            docs=_docs(lines[lead : number + 1]),
            members=tuple(_members(lines, number + 1, end)),
            first=lead,
            line=number,
            end=end,
        )
        number = lead = end + 1
        documented = False


def _members(lines: list[_Line], start: int, end: int) -> Iterator[Member]:
    first = start
    for number in range(start, end):
        if lines[number].code:
            tokens = tuple(_TOKEN.findall(lines[number].code))
            yield Member(_key(tokens), tokens, _docs(lines[first : number + 1]), first, number)
            first = number + 1


def _key(tokens: tuple[str, ...]) -> str:
    name = tokens[0]
    return name if name in _SINGLE or not name.startswith("@@") else " ".join(tokens)


def _docs(lines: list[_Line]) -> tuple[str, ...]:
    return tuple(doc for line in lines for doc in line.docs)


def _kind(word: str) -> Kind:
    for kind in get_args(Kind):
        if kind == word:
            return kind  # type: ignore[no-any-return]
    raise AssertionError(word)
