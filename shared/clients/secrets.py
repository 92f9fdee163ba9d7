"""Secrets by name, from mounted files or the environment; their values never in a log or a message."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

_PREFIX = "secret:"
_VARIABLE = "UPGRADES_SECRET_"
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*:[^\s/@]+)(?=@)")
_HIDDEN = "***"
# Hiding every "1" or "on" would make a log unreadable and protect nobody.
_HIDE_FROM_CHARACTERS = 4
HIDDEN_MAX = 1000
"""Values that were resolved last. Credentials that are made anew each hour would fill a process of years, and
slow every answer; those of the jobs that are under way are far fewer."""


class MissingSecret(Exception):
    """The worker cannot see a secret that a Project names."""

    def __init__(self, name: str, looked_at: tuple[str, ...]) -> None:
        super().__init__(f"secret {name!r} is not here; looked at {' and '.join(looked_at)}")
        self.name = name
        self.looked_at = looked_at


class Secrets:
    """Resolves `secret:<name>` from the file `<folder>/<name>` or the variable `UPGRADES_SECRET_<NAME>`."""

    def __init__(self, folder: Path | None, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._seen: OrderedDict[str, set[str]] = OrderedDict()
        """Each value that was resolved, the last one last, with the passwords of the URL that it may be."""

    def __repr__(self) -> str:
        return f"Secrets(folder={str(self._folder)!r})"

    def resolve(self, reference: str) -> str:
        """The value behind `secret:<name>`, without a trailing newline. Raises `MissingSecret`."""
        name = reference.removeprefix(_PREFIX)
        if not reference.startswith(_PREFIX) or not _NAME.fullmatch(name):
            raise ValueError("a secret is named secret:<name>, in small letters, digits and hyphens")
        variable = _VARIABLE + name.upper().replace("-", "_")
        looked_at = [f"variable {variable}"]
        value = self._environ.get(variable)
        if self._folder is not None:
            file = self._folder / name
            looked_at.insert(0, f"file {file}")
            if file.is_file():
                value = file.read_text(encoding="utf-8").rstrip("\r\n")
        if value is None:
            raise MissingSecret(name, tuple(looked_at))
        self._remember(value)
        return value

    def value(self, text: str) -> str:
        """`text` itself, or what is behind it when it is a `secret:` reference."""
        return self.resolve(text) if text.startswith(_PREFIX) else text

    def redact(self, text: str) -> str:
        """`text` with every value resolved so far, and every URL's password, replaced by `***`."""
        # Longest first: one secret may be a part of another.
        values = (value for value in self._seen if len(value) >= _HIDE_FROM_CHARACTERS)
        for value in sorted(values, key=len, reverse=True):
            text = text.replace(value, _HIDDEN)
        # Most texts hold none: to look costs less than to compile an expression for each.
        passwords = {one for found in self._seen.values() for one in found if one in text}
        for password in sorted(passwords, key=len, reverse=True):
            # Whole words only: a password that is a word would make every longer one unreadable.
            text = re.sub(rf"(?<!\w){re.escape(password)}(?!\w)", _HIDDEN, text)
        return without_passwords(text)

    def _remember(self, value: str) -> None:
        self._seen[value] = _passwords_in(value)
        self._seen.move_to_end(value)
        if len(self._seen) > HIDDEN_MAX:
            self._seen.popitem(last=False)


def _passwords_in(value: str) -> set[str]:
    """The password of a URL, as it is written there and as it is meant."""
    written = {found.partition(":")[2] for found in _URL_PASSWORD.findall(value)}
    return {one for text in written for one in (text, unquote(text)) if len(one) >= _HIDE_FROM_CHARACTERS}


def without_passwords(text: str) -> str:
    """`text` with the password of every URL in it replaced by `***`."""
    return _URL_PASSWORD.sub(lambda found: f"{found[0].partition(':')[0]}:{_HIDDEN}", text)
