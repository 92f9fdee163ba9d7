"""An exported log as a file, and the verdict on it, found offline.

The first line names each log, where its entries begin and its signed head; then each log's entries follow,
one a line, with their hashes. Every line is canonical JSON, so that no byte of it has two spellings.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import Field, ValidationError

from shared.audit.chain import is_signed
from shared.contracts.audit import NO_ENTRY, AuditHead
from shared.contracts.values import Contract, canonical_digest, canonical_json
from shared.identity.proofs import Verifier

VERSION: Final = 1
FAULTS_MAX: Final = 100
"""Of one file: what follows the first ones follows from them."""
LINE_BYTES_MAX: Final = 1 << 20


class ExportedLog(Contract):
    """One log of the file. `first` is the number of its first entry here, which follows `previous`."""

    first: int = Field(ge=1)
    previous: str = Field(pattern=r"^[0-9a-f]{64}$")
    head: AuditHead


class Header(Contract):
    """The first line."""

    audit: int
    logs: tuple[ExportedLog, ...] = Field(min_length=1, max_length=10_000)


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it was written. `line` counts from 1; `seq` is the entry that is meant."""

    line: int
    log: str | None
    seq: int | None
    kind: str
    text: str


@dataclass
class Verdict:
    """What was found; the file is whole if there is no fault, and proven if its heads are trusted, too."""

    faults: list[Fault] = field(default_factory=list)
    entries: dict[str, int] = field(default_factory=dict)
    """How many of each log."""
    unproven: tuple[str, ...] = ()
    """Logs whose heads neither a key nor a published head proves."""

    def add(self, line: int, log: str | None, seq: int | None, kind: str, text: str) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(line, log, seq, kind, text))


@dataclass(frozen=True)
class Known:
    """What the verifier trusts, from elsewhere than the file."""

    keys: Verifier | None = None
    heads: Sequence[AuditHead] = ()
    """Published ones: signed, if there are keys."""
    hashes: Sequence[str] = ()
    """Published hashes, of whatever log: each must be that of an entry here."""
    logs: Sequence[str] = ()
    """That must be in the file."""
    ranges: bool = False
    """A log may begin later than with its first entry."""


def lines_of(
    logs: Mapping[str, tuple[ExportedLog, Iterable[Mapping[str, Any]]]],
) -> Iterator[str]:
    """The file's lines. Of each log its place and its entries, as `{"entry": …, "hash": …}`."""
    header = Header(audit=VERSION, logs=tuple(log for log, _ in logs.values()))
    yield canonical_json(header.model_dump(mode="json"))
    for _, entries in logs.values():
        for each in entries:
            yield canonical_json({"entry": each["entry"], "hash": each["hash"]})


def verify(lines: Iterable[bytes], known: Known) -> Verdict:
    """The verdict on a file, of which these are the lines with their ends. Reads it once, line by line."""
    verdict = Verdict()
    numbered = _texts(lines, verdict)
    header = _header(next(numbered, None), verdict)
    if header is None:
        return verdict
    _judge_logs(header, known, verdict)
    sections = [_Section(log, known, verdict) for log in header.logs]
    at, last = 0, 1
    for last, text in numbered:
        entry = _entry(last, text, verdict)
        if entry is None:
            sections[at].lost(last)
            continue
        begins = [n for n in range(at + 1, len(sections)) if sections[n].begins_with(entry["entry"])]
        for over in sections[at : begins[0]] if begins else ():
            over.end(last)
        at = begins[0] if begins else at
        sections[at].take(last, entry)
    for section in sections[at:]:
        section.end(last)
    for digest in known.hashes:
        if not any(digest in section.seen for section in sections):
            verdict.add(last, None, None, "cut", f"no entry has the published hash {digest}: it was cut off")
    return verdict


class _Section:
    """One log while its lines are read."""

    def __init__(self, log: ExportedLog, known: Known, verdict: Verdict) -> None:
        self.name, self._head, self._verdict = log.head.log, log.head, verdict
        self._next, self._previous = log.first, log.previous
        self._published: dict[int, set[str]] = {}
        for head in known.heads:
            # What nobody signed, anybody may have published.
            if head.log == self.name and (known.keys is None or is_signed(head, known.keys)):
                self._published.setdefault(head.seq, set()).add(head.hash)
        self._hashes = frozenset(known.hashes)
        self.seen = {log.previous} & self._hashes
        """Of the published hashes."""
        self._first, self._lost = log.first, False
        verdict.entries[self.name] = 0

    def begins_with(self, entry: Mapping[str, Any]) -> bool:
        """Whether this is the entry with which this log begins."""
        return (entry.get("log"), entry.get("seq")) == (self.name, self._first)

    def lost(self, line: int) -> None:
        """A line could not be read: the next entry need not follow the one before."""
        self._lost = True
        self._next += 1

    def take(self, line: int, found: Mapping[str, Any]) -> None:
        """The next line, if it is the next entry."""
        entry, digest = found["entry"], found["hash"]
        seq = entry.get("seq")
        if entry.get("log") != self.name:
            self._fault(line, self._next, "foreign", f"it is an entry of the log {entry.get('log')!r}")
            return
        if type(seq) is not int:
            self._fault(line, self._next, "edited", "it has no number")
            return
        if canonical_digest(dict(entry)) != digest:
            self._fault(line, seq, "edited", "it does not have the hash that stands beside it")
        if seq > self._next:
            self._fault(line, self._next, "missing", _missing(self._next, seq - 1))
        elif seq < self._next:
            self._fault(line, seq, "reordered", f"it stands where {self._next} belongs: moved, or twice")
            return
        elif entry.get("previous") != self._previous and not self._lost:
            self._fault(line, seq, "edited", "it does not name the hash of the entry before it")
        self._compare(line, seq, digest)
        self._next, self._previous, self._lost = seq + 1, digest, False
        self._verdict.entries[self.name] += 1

    def end(self, line: int) -> None:
        """No line of this log follows."""
        name, head = self.name, self._head
        if self._next <= head.seq:
            self._fault(line, self._next, "cut", _missing(self._next, head.seq))
        elif self._next > head.seq + 1:
            self._fault(line, head.seq, "foreign", f"entries follow the signed head {head.seq}")
        elif self._previous != head.hash:
            self._fault(line, head.seq, "edited", "the last entry does not have the hash that the head signs")
        for seq in sorted(self._published):
            if seq >= self._next:
                self._fault(line, self._next, "cut", f"{name} had published entry {seq} already")
                break

    def _compare(self, line: int, seq: int, digest: str) -> None:
        for other in sorted(self._published.get(seq, set()) - {digest}):
            self._fault(line, seq, "edited", f"another hash was published: {other}")
        if digest in self._hashes:
            self.seen.add(digest)

    def _fault(self, line: int, seq: int, kind: str, text: str) -> None:
        self._verdict.add(line, self.name, seq, kind, text)


def _judge_logs(header: Header, known: Known, verdict: Verdict) -> None:
    """What can be said of the header alone."""
    names = [log.head.log for log in header.logs]
    if len(set(names)) < len(names):
        verdict.add(1, None, None, "header", "it names a log twice")
    for name in known.logs:
        if name not in names:
            verdict.add(1, name, None, "cut", f"the log of {name} is not in this file")
    for name in names:
        if known.logs and name not in known.logs:
            verdict.add(1, name, None, "foreign", f"the log of {name} was not asked for")
    unproven = []
    for log in header.logs:
        head = log.head
        if log.first > 1 and not known.ranges:
            text = f"{_missing(1, log.first - 1)}: say --range if only a part was exported"
            verdict.add(1, head.log, 1, "cut", text)
        if (log.first == 1) != (log.previous == NO_ENTRY) or log.first > head.seq + 1:
            verdict.add(1, head.log, log.first, "header", "where it begins cannot be so")
        if log.first == head.seq + 1 and log.previous != head.hash:
            verdict.add(1, head.log, head.seq, "header", "it has no entry, and the head names another hash")
        trusted = head.hash in known.hashes or any(
            (one.log, one.hash) == (head.log, head.hash) for one in known.heads
        )
        if known.keys is not None and not is_signed(head, known.keys):
            verdict.add(1, head.log, head.seq, "unsigned", f"{head.kid} has not signed this head")
        elif known.keys is None and not trusted:
            unproven.append(head.log)
    verdict.unproven = tuple(unproven)


def _texts(lines: Iterable[bytes], verdict: Verdict) -> Iterator[tuple[int, bytes]]:
    """Each line without its end, with its number."""
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            verdict.add(number, None, None, "cut", "the last line has no end")
        yield number, line.removesuffix(b"\n")


def _header(found: tuple[int, bytes] | None, verdict: Verdict) -> Header | None:
    document = _canonical(*found, verdict) if found is not None else None
    if document is None:
        verdict.add(1, None, None, "header", "it does not begin with the header of an exported audit log")
        return None
    try:
        header = Header.model_validate(document)
    except ValidationError as error:
        verdict.add(1, None, None, "header", f"its header is not valid: {error.error_count()} faults")
        return None
    if header.audit != VERSION or header.model_dump(mode="json") != document:
        verdict.add(1, None, None, "header", "its header has other fields than this version writes")
        return None
    return header


def _entry(number: int, text: bytes, verdict: Verdict) -> Mapping[str, Any] | None:
    document = _canonical(number, text, verdict)
    if document is None:
        return None
    entry = document.get("entry")
    if set(document) != {"entry", "hash"} or not isinstance(entry, dict):
        verdict.add(number, None, None, "edited", "the line is not an entry with its hash")
        return None
    return document


def _canonical(number: int, text: bytes, verdict: Verdict) -> dict[str, Any] | None:
    """The line's JSON object; none, with a fault, if it is not one in its one spelling."""
    if len(text) > LINE_BYTES_MAX:
        verdict.add(number, None, None, "edited", f"the line is longer than {LINE_BYTES_MAX} bytes")
        return None
    try:
        document = json.loads(text)
        if isinstance(document, dict) and canonical_json(document).encode() == text:
            return document
    except (ValueError, RecursionError):
        verdict.add(number, None, None, "edited", "the line is not JSON")
        return None
    verdict.add(number, None, None, "edited", "the line is not spelled as it was written")
    return None


def _missing(first: int, last: int) -> str:
    return f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"
