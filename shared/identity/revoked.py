"""Tokens that somebody has called back: a file that is read again whenever it changes.

Each of its lines is a token's `jti`, or `before TIME SUBJECT`: everything counts no longer that was issued to
that subject before then. It lays the ground: whoever runs the services brings the file to every machine.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from shared.contracts.moments import read_moment
from shared.identity.watched_files import Stamp, stamp

log = logging.getLogger(__name__)

CLOCKS_DIFFER_S: Final = 30
"""An issuer's clock may be so far ahead: what it issued before may say that it was so much later."""
BYTES_MAX: Final = 16 << 20
"""Some 400,000 tokens. Of a larger file nobody reads the end, where the newest ones stand."""
TIDY_BYTES: Final = 1 << 20
"""From here on the service says so, and goes on."""
KEPT_S: Final = 24 * 3600.0
"""So long the last text counts while the file cannot be read; as long as keys do."""
_TIDY = "leave out what has expired (`upgradepath token revoke --tidy`)"
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

    def calls_back(self, token_id: str, subject: str, issued_s: float) -> bool:
        """True when a token counts no longer that was issued to the subject then, in seconds since 1970."""
        before_s = self.before_s.get(subject)
        return token_id in self.ids or (before_s is not None and issued_s < before_s + CLOCKS_DIFFER_S)

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
        moment = read_moment(found["time"])
    except ValueError:
        return None
    return found["subject"], moment.timestamp()


class RevokedTokens:
    """Answers from memory; the file is looked at each time, and read only when it is another one."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises OSError when the file cannot be read, and ValueError for one that is too large, or with a
        line that says nothing.
        """
        self._path = path
        self._clock = clock
        self._seen: Stamp | None = stamp(path)
        self._bytes = 0
        self._said = self._read()
        self._unread_since_s: float | None = None
        self._too_large = False
        self._trouble = self._notes()
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

    def unknown(self) -> str | None:
        """Why nobody can tell any more which tokens were called back; None while it is known."""
        self._look()
        if self._too_large or self.unread_s() > KEPT_S:
            return self._trouble
        return None

    def unread_s(self) -> float:
        """For how long the file has not been readable; 0 while what it says is known."""
        return 0.0 if self._unread_since_s is None else self._clock() - self._unread_since_s

    def size_bytes(self) -> int:
        """How large the text is that was read last."""
        self._look()
        return self._bytes

    def trouble(self) -> str | None:
        """What is wrong with the file, for whoever operates the service."""
        self._look()
        return self._trouble

    def _look(self) -> None:
        try:
            state = stamp(self._path)
            if state == self._seen:
                return
            # What is in it now is looked at once, whatever it is worth.
            self._seen = state
            self._said = self._read()
        except OSError as error:
            # When it is there again it is read, though it be the very same file.
            self._seen = None
            self._miss(f"its last text counts for {KEPT_S / 3600:g} h: {error.strerror}")
        except ValueError as error:
            self._too_large = True
            self._miss(f"every token is refused: {error}")
        else:
            self._unread_since_s, self._too_large = None, False
            self._say(self._notes())

    def _miss(self, why: str) -> None:
        if self._unread_since_s is None:
            self._unread_since_s = self._clock()
        self._say(f"the list of revoked tokens cannot be read, {why}")

    def _notes(self) -> str | None:
        if self._said.wrong:
            return f"{self._path}: {_lines(self._said.wrong)}"
        if self._bytes > TIDY_BYTES:
            return f"{self._path} has {self._bytes} bytes, at most {BYTES_MAX} are read: {_TIDY}"
        return None

    def _say(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble

    def _read(self) -> Revocations:
        with self._path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
        if len(data) > BYTES_MAX:
            raise ValueError(f"{self._path} has more than {BYTES_MAX} bytes: {_TIDY}")
        self._bytes = len(data)
        return Revocations.read(data.decode("utf-8-sig", errors="replace"))


def _lines(wrong: tuple[int, ...]) -> str:
    return (
        f"line {wrong[0]} calls nothing back: a line is a token's `jti`, or"
        " `before 2026-11-30T22:00:00Z SUBJECT`"
    )
