"""A worker's own clone that is at fault: it is made anew before anybody is blamed.

A fetch that was killed leaves locks, and a power cut empty objects. No fetch mends these, so that every later
stage of the Project would end on them.
"""

import re
import time
from pathlib import Path

from cachetools import LRUCache

from shared.clients.secrets import without_passwords
from shared.errors import Retry

_WORDS_CHARACTERS = 500
_NEW_FOR_S = 86_400.0
_BROKEN_REF = r"^(?!remote:).*(?:unable to resolve reference|reference broken)"
_LOCKED = r"^(?!remote:).*Unable to create '{folder}/\S*\.lock': File exists"
_DAMAGED = (
    r"^(?!remote:).*{folder}/objects/\S+"
    r" (?:is empty|is corrupt|is truncated|is too small|is far too short|does not match|cannot be accessed)"
    r"|\(stored in {folder}/objects/\S+\) is corrupt"
)

# By folder: the clones that the next fetch makes anew, those that their first fetch fills, and when each was
# made of nothing.
_suspected: set[Path] = set()
_filling: set[Path] = set()
_made_s: LRUCache[Path, float] = LRUCache(10_000)


class CloneUnusable(Retry):
    """The worker's own clone is at fault; the next fetch makes a new one."""


def own_fault(folder: Path, command: str, words: str) -> CloneUnusable | None:
    """The error for what Git says of files in the clone itself; none when it says nothing of them.

    What is said while a new clone is filled is of the remote: its host may print whatever it likes.
    """
    if not words or command == "ls-remote" or folder in _filling:
        return None
    told = [_DAMAGED, *((_LOCKED, _BROKEN_REF) if command == "fetch" else ())]
    own = re.escape(str(folder))
    if not any(re.search(each.replace("{folder}", own), words, re.MULTILINE) for each in told):
        return None
    _suspected.add(folder)
    said = without_passwords(words.strip()[:_WORDS_CHARACTERS])
    return CloneUnusable(f"the worker's own clone is damaged and is made anew: {said}")


def suspect(folder: Path) -> bool:
    """Have the next fetch make the clone anew, unless it was made lately: then the repository is so."""
    if time.monotonic() - _made_s.get(folder, -_NEW_FOR_S) < _NEW_FOR_S:
        return False
    _suspected.add(folder)
    return True


def is_suspected(folder: Path) -> bool:
    """Whether a clone is to be made anew."""
    return folder in _suspected


def was_made(folder: Path) -> None:
    """A clone was made of nothing, and its first fetch begins."""
    _suspected.discard(folder)
    _filling.add(folder)
    _made_s[folder] = time.monotonic()


def was_filled(folder: Path) -> None:
    """A fetch into the clone has ended, one way or the other."""
    _filling.discard(folder)
