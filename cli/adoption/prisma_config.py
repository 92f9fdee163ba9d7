"""What a repository's own configuration tells Prisma: where the schema is, and where the migrations. Pure."""

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

_CONFIG = re.compile(r"(^|/)(prisma\.config|\.config/prisma)\.[cm]?[jt]s$")
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|(?<![:\w\"'])//[^\n]*", re.DOTALL)
# Bounded, so that one that never ends is not gone through from each of its words.
_PATH = (
    r"""(?:[\w.]{0,200}\b(?:join|resolve)\((?P<joined>[^)]{0,1000})\)"""
    r"""|(?P<quote>["'`])(?P<text>[^"'`]{1,1000})(?P=quote))"""
)
_SCHEMA = re.compile(rf"\bschema\s*+:\s*+{_PATH}")
_MIGRATIONS = re.compile(rf"\bmigrations\s*+:\s*+\{{[^{{}}]{{0,5000}}?\bpath\s*+:\s*+{_PATH}", re.DOTALL)
_QUOTED = re.compile(r"""["'`]([^"'`]+)["'`]""")
_DEFAULTS = ("prisma/schema.prisma", "schema.prisma")


@dataclass(frozen=True)
class Configured:
    """Paths from the repository's root: where the schema may be, and the migrations if they are named."""

    schemas: tuple[str, ...]
    migrations: str | None


def read_configs(files: Mapping[str, bytes]) -> list[Configured]:
    """Of every `prisma.config.*`, and of every `package.json` that has a `prisma`."""
    found = []
    for path in sorted(files):
        if _CONFIG.search(path):
            folder = posixpath.dirname(path).removesuffix(".config").rstrip("/")
            found.append(_of_program(folder, files[path].decode(errors="replace")))
        elif posixpath.basename(path) == "package.json" and (named := _of_package(files[path])):
            place = _from(posixpath.dirname(path), named)
            found += [] if place is None else [Configured((place,), None)]
    return found


def _of_program(folder: str, text: str) -> Configured:
    """It is TypeScript: only a path that stands in it as text, or joined of texts, is read."""
    code = _COMMENT.sub("", text)
    schema, migrations = _named(_SCHEMA, folder, code), _named(_MIGRATIONS, folder, code)
    defaults = [place for each in _DEFAULTS if (place := _from(folder, each)) is not None]
    return Configured(tuple(defaults) if schema is None else (schema,), migrations)


def _named(pattern: re.Pattern[str], folder: str, code: str) -> str | None:
    found = pattern.search(code)
    if found is None:
        return None
    text = found["text"] or posixpath.join(*(_QUOTED.findall(found["joined"]) or [""]))
    return _from(folder, text)


def _of_package(data: bytes) -> str | None:
    try:
        read = json.loads(data)
    except (ValueError, RecursionError):
        return None
    own = read.get("prisma") if isinstance(read, dict) else None
    named = own.get("schema") if isinstance(own, dict) else None
    return named if isinstance(named, str) else None


def _from(folder: str, path: str) -> str | None:
    """The path from the root; none where it leaves the repository."""
    place = posixpath.normpath(posixpath.join(folder, path))
    return None if place.startswith(("..", "/")) else "" if place == "." else place
