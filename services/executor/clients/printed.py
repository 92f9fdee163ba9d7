"""The print of pg_dump, thing by thing: two databases are compared in everything that it knows."""

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_HEAD = re.compile(
    r"^-- (?:Data for )?Name: (?P<name>.*?); Type: (?P<type>[^;]*+);"
    r" Schema: (?P<schema>(?:(?!; Type: ).)*?); Owner: (?P<owner>[^;\n]*+)"
)
# A printed expression that is read and printed again may have its casts at other places.
_CASTS = re.compile(r"::(character varying|text|bpchar|character)(\(\d+\))?(\[\])?|[()\s]")
_EXPRESSIONS = ("CONSTRAINT", "CHECK CONSTRAINT", "TABLE", "INDEX", "VIEW", "MATERIALIZED VIEW", "POLICY",
                "RULE", "TRIGGER", "DEFAULT", "DOMAIN", "STATISTICS", "FK CONSTRAINT")  # fmt: skip
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Printed:
    """One entry: what it is, and the statements for it, which say its owner, rights and options too."""

    what: str
    type: str
    text: str

    @property
    def loosely(self) -> str:
        """The text without what reading and printing it again may change."""
        return _CASTS.sub("", self.text) if self.type in _EXPRESSIONS else self.text


def printed(file: Path, leave_out: Collection[str] = ()) -> dict[str, Printed]:
    """The entries of a script that pg_dump or pg_restore wrote, by what they are.

    `leave_out` has types of entries, and entries as their header names them (`SCHEMA public`).
    """
    found: dict[str, Printed] = {}
    for entry in _entries(file):
        if entry.type not in leave_out and entry.what not in leave_out:
            known = found.get(entry.what)
            text = entry.text if known is None else f"{known.text}\n{entry.text}"
            found[entry.what] = Printed(entry.what, entry.type, text)
    return found


def digest(entries: dict[str, Printed]) -> str:
    """The sha256, in hexadecimal, of all that is printed, in no order."""
    return hashlib.sha256("\0".join(sorted(each.text for each in entries.values())).encode()).hexdigest()


def other_prints(wanted: dict[str, Printed], found: dict[str, Printed]) -> Iterator[tuple[str, str]]:
    """Each entry that is otherwise, and how."""
    for what in sorted(wanted.keys() | found.keys()):
        before, now = wanted.get(what), found.get(what)
        if before is None or now is None:
            yield what, "it is not there afterwards" if now is None else "it was not there before"
        elif before.text != now.text and before.loosely != now.loosely:
            had, has = before.text.splitlines(), now.text.splitlines()
            gone, new = {*had} - {*has}, {*has} - {*had}
            lost = "\n".join(line for line in had if line in gone)
            came = "\n".join(line for line in has if line in new)
            yield what, f"before: {_cut(lost or before.text)}\nafterwards: {_cut(came or now.text)}"


def entry_at(script: Path, line: int) -> str:
    """The entry to which a line of a script belongs, as its header names it; empty for none."""
    found = ""
    with script.open("rb") as file:
        for _, text in zip(range(line), file, strict=False):
            if text.startswith(b"-- ") and (head := _HEAD.match(text.decode(errors="replace"))):
                found = _name(head)
    return found


def _entries(file: Path) -> Iterator[Printed]:
    head: re.Match[str] | None = None
    lines: list[str] = []
    with file.open(encoding="utf-8", errors="surrogateescape") as text:
        for line in text:
            if line.startswith("-- ") and (found := _HEAD.match(line)):
                if head is not None:
                    yield _entry(head, lines)
                head, lines = found, []
            elif line.strip() not in ("", "--"):
                lines.append(line.rstrip("\n"))
    if head is not None:
        yield _entry(head, lines)


def _entry(head: re.Match[str], lines: list[str]) -> Printed:
    # What stands between two entries belongs to neither: settings of the session, and the script's end.
    kept = [
        line for line in lines if not line.startswith(("SET default_", "-- PostgreSQL database dump", "\\"))
    ]
    if head["type"] in ("ACL", "DEFAULT ACL", "SEQUENCE OWNED BY"):
        kept.sort()
    return Printed(_name(head), head["type"], "\n".join([f"owner {head['owner']}", *kept]))


def _name(head: re.Match[str]) -> str:
    schema = "" if head["schema"] == "-" else f"{head['schema']}."
    return f"{head['type']} {schema}{head['name']}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
