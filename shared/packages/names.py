"""Which names a package may bring: those that every system has, and that a person can tell apart.

A package is installed with Git on Linux, macOS and Windows. A name that one of them changes, joins with
another or leaves out would install something else than what was published.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

from shared.contracts.refusals import Refusal

PATH_CHARACTERS_MAX = 200
PART_BYTES_MAX = 255
PARTS_MAX = 40

_RESERVED = re.compile(r'[<>:"|?*\\]')
# What Unicode calls default-ignorable, as far as Python counts it as printable; and two that are blank.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U0001d159\U000e0100-\U000e01ef]"
)
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9])")
# With the short names that NTFS gives them: git~1, gitmod~1, gi7eba~1.
_GITS_OWN = re.compile(r"\.git|\.gitmodules|\.gitattributes|gi[^.]{0,6}~[0-9]+")

Fault = tuple[str, str]
"""The reason, and the cure."""


def fault(path: str) -> Fault | None:
    """Why no package may bring this path; None for one that every system can have."""
    if len(path) > PATH_CHARACTERS_MAX:
        return f"a path has at most {PATH_CHARACTERS_MAX} characters", "shorten the name"
    parts = path.split("/")
    if len(parts) > PARTS_MAX:
        return f"a path has at most {PARTS_MAX} parts", "nest the folders less deeply"
    for part in parts:
        if (found := _fault_of_part(part)) is not None:
            return found
    return None


def shown(path: str) -> str:
    """The path for people to read: cut, and each character beyond ASCII that hides written as its number."""
    return "".join(
        character if character.isascii() or _visible(character) else _number(character)
        for character in path[:PATH_CHARACTERS_MAX]
    )


def folded(name: str) -> str:
    """The form in which names are compared: two with the same form fall together somewhere."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def clashes(files: Iterable[str], folders: Iterable[str] = ()) -> list[Refusal]:
    """A refusal per path that falls together with another one, on this system or on another."""
    tree = _Tree()
    found: dict[str, Fault] = {}
    for path, is_file in (*((path, True) for path in files), *((path, False) for path in folders)):
        for clashing, why in tree.add(path, is_file=is_file):
            found.setdefault(clashing, why)
    return [refusal(path, why) for path, why in sorted(found.items())]


class _Tree:
    """Paths by the form in which names are compared."""

    def __init__(self) -> None:
        self._root = _Place("", is_file=False)

    def add(self, path: str, *, is_file: bool) -> Iterator[tuple[str, Fault]]:
        """Add a path; each of its parts that falls together with what is there already."""
        place, parts = self._root, path.split("/")
        for depth, part in enumerate(parts, start=1):
            file_here = is_file and depth == len(parts)
            form = folded(part)
            there = place.below.get(form)
            if there is None:
                there = place.below[form] = _Place(part, is_file=file_here)
            elif there.name != part:
                yield "/".join(parts[:depth]), _falls_together(there.name)
            elif there.is_file != file_here:
                yield "/".join(parts[:depth]), _FILE_AND_FOLDER
            place = there


class _Place:
    __slots__ = ("below", "is_file", "name")

    def __init__(self, name: str, *, is_file: bool) -> None:
        self.name = name
        self.is_file = is_file
        self.below: dict[str, _Place] = {}


def refusal(path: str, why: Fault) -> Refusal:
    """The refusal of a path."""
    return Refusal(kind="invalid", reason=why[0], field=shown(path), cure=why[1])


@lru_cache(maxsize=4096)
def _fault_of_part(part: str) -> Fault | None:
    if part in ("", ".", ".."):
        return "a path leads from the archive's root down, without . or ..", "rename the file"
    if not part.isprintable() or _INVISIBLE.search(part):
        return "a name has no characters that are invisible or change the direction", "rename the file"
    if _RESERVED.search(part):
        return 'a name has none of \\ < > : " | ? *', "rename the file"
    if not unicodedata.is_normalized("NFC", part):
        return "a name is in Unicode's composed form (NFC)", "write the name with composed characters"
    if len(part.encode()) > PART_BYTES_MAX:
        return f"each name of a path has at most {PART_BYTES_MAX} bytes of UTF-8", "shorten the name"
    if _GITS_OWN.fullmatch(folded(part).rstrip(" .")):
        return "a file of Git's own may not be in a package", "leave it out"
    if part[-1] in " .":
        return "a name does not end with a dot or a space", "rename the file"
    if _DEVICE.fullmatch(folded(part).split(".")[0].rstrip(" ")):
        return "Windows keeps this name for a device", "rename the file"
    return None


_FILE_AND_FOLDER: Fault = ("there is a file and a folder of this path", "rename one of them")


def _falls_together(other: str) -> Fault:
    return f"it falls together with {shown(other)} where case or form does not count", "rename one of them"


def _visible(character: str) -> bool:
    return character.isprintable() and not _INVISIBLE.match(character)


def _number(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
