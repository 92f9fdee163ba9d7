"""Whose a schema, an extension or the like in production is: the Project's, or its hosting's. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LINE = re.compile(
    r"(?:of )?(?:comment on )?(?:publication (?:relation|namespace) .* in )?"
    r"(extension|event trigger|publication|server|foreign-data wrapper|language) "
    r'("(?:[^"]|"")+"|[^ :]+)'
)
_PUBLIC = "public"


@dataclass(frozen=True)
class Whose:
    """What the Project's migrations and schema files name is the Project's; `hosting` never is.

    `texts` are those files, `hosting` what the Project's file declares: `schema auth`, `extension pg_net`.
    """

    texts: str
    hosting: frozenset[str] = frozenset()

    def is_ours(self, kind: str, name: str) -> bool:
        """Whether a schema, extension, publication or the like of that name is the Project's."""
        if f"{kind} {name}" in self.hosting:
            return False
        if kind == "schema" and name == _PUBLIC:
            return True
        word = kind.replace("-", r"\s+").replace(" ", r"\s+")
        one = rf'(?:"{re.escape(name)}"|{re.escape(name)}(?![\w$]))'
        named = rf"\b{word}\s+(?:if\s+(?:not\s+)?exists\s+)?{one}"
        if kind == "schema":
            listed = rf'schema\s*\(\s*"{re.escape(name)}"|\bschemas\s*=[^\]=]*{one}'
            named = rf'{named}|(?<![\w$"]){one}\s*\.|{listed}'
        if kind == "extension":
            named = rf"{named}|\bextensions\s*=[^\]=]*(?<![\w$]){one}"
        return re.search(named, self.texts, re.IGNORECASE) is not None

    def ours(self, lines: Sequence[str]) -> tuple[str, ...]:
        """The lines of a description without the extensions, publications and the like of the hosting."""
        return tuple(line for line in lines if not self._foreign(line))

    def left_alone(self, lines: Sequence[str], schemas: Sequence[str]) -> tuple[str, ...]:
        """The hosting's in a description, for people: `extension pg_net`, `schema auth`."""
        found = [f"schema {name}" for name in schemas]
        return tuple(dict.fromkeys((*found, *(each for line in lines for each in self._foreign(line)))))

    def _foreign(self, line: str) -> tuple[str, ...]:
        matched = _LINE.match(line)
        if matched is None:
            return ()
        kind, name = matched[1], matched[2].strip('"').replace('""', '"')
        return () if self.is_ours(kind, name) else (f"{kind} {name}",)


def hosting_of(schemas: Sequence[str], extensions: Sequence[str]) -> Iterator[str]:
    """What a Project's file declares, as `Whose` names it."""
    yield from (f"schema {name}" for name in schemas)
    yield from (f"extension {name}" for name in extensions)
