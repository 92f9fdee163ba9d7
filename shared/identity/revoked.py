"""Tokens that somebody has called back: a file that is read again whenever it changes.

Each of its lines is a token's `jti`, or `before TIME SUBJECT`: everything counts no longer that was issued to
that subject before then. It lays the ground: whoever runs the services brings the file to every machine.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

BYTES_MAX: Final = 1 << 20
_BEFORE = re.compile(r"before\s++(?P<time>\S{1,40}+)\s++(?P<subject>\S.{0,399})")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Revocations:
    """What one text of the file says."""

    ids: frozenset[str] = frozenset()
    before_s: Mapping[str, float] = field(default_factory=dict)
    """Per subject, in seconds since 1970."""
    wrong: tuple[int, ...] = ()
    """The numbers of lines that nobody can read; the others count all the same."""

    @classmethod
    def read(cls, text: str) -> "Revocations":
        ids: set[str] = set()
        before_s: dict[str, float] = {}
        wrong: list[int] = []
        for number, line in enumerate(map(str.strip, text.splitlines()), 1):
            if not line or line.startswith("#"):
                continue
            if len(line.split(maxsplit=1)) == 1:
                ids.add(line)
            elif (found := _of_a_subject(line)) is not None:
                subject, at_s = found
                before_s[subject] = max(at_s, before_s.get(subject, at_s))
            else:
                wrong.append(number)
        return cls(frozenset(ids), before_s, tuple(wrong))


def before_line(subject: str, moment: datetime) -> str:
    """The line that calls back what was issued to the subject before that moment."""
    return f"before {moment.astimezone(UTC).strftime(_TIME)} {subject}"


def _of_a_subject(line: str) -> tuple[str, float] | None:
    found = _BEFORE.fullmatch(line)
    if found is None:
        return None
    try:
        moment = datetime.strptime(found["time"], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return found["subject"], moment.timestamp()


class RevokedTokens:
    """Answers from memory; the file is looked at each time, and read only when it is another one."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be read, and ValueError for one of more than 1 MiB, or with a
        line that says nothing.
        """
        self._path = path
        self._seen = self._state()
        self._said = self._read()
        self._trouble: str | None = None
        if self._said.wrong:
            raise ValueError(f"{path}: {_lines(self._said.wrong)}")

    def has(self, token_id: str) -> bool:
        """True when it is called back. While the file cannot be read, its last text counts."""
        self._look()
        return token_id in self._said.ids

    def before_s(self, subjects: Iterable[str]) -> float | None:
        """What was issued before then, in seconds since 1970, to a person of these names counts no longer."""
        self._look()
        return max(
            (self._said.before_s[each] for each in subjects if each in self._said.before_s), default=None
        )

    def trouble(self) -> str | None:
        """What is wrong with the file, for whoever operates the service."""
        self._look()
        return self._trouble

    def _look(self) -> None:
        try:
            state = self._state()
            if state == self._seen:
                return
            self._said, self._seen = self._read(), state
        except (OSError, ValueError) as error:
            self._say(f"the list of revoked tokens cannot be read, its last text counts: {error}")
        else:
            self._say(f"{self._path}: {_lines(self._said.wrong)}" if self._said.wrong else None)

    def _say(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble

    def _state(self) -> tuple[int, int, int]:
        seen = self._path.stat()
        return seen.st_mtime_ns, seen.st_size, seen.st_ino

    def _read(self) -> Revocations:
        with self._path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
        if len(data) > BYTES_MAX:
            raise ValueError(f"{self._path} has more than {BYTES_MAX} bytes: leave out what has expired")
        return Revocations.read(data.decode("utf-8-sig", errors="replace"))


def _lines(wrong: tuple[int, ...]) -> str:
    return (
        f"line {wrong[0]} calls nothing back: a line is a token's `jti`, or"
        " `before 2026-11-30T22:00:00Z SUBJECT`"
    )
