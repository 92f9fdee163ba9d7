"""What scripts take for granted of a server: extensions, a version, privileges. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from services.executor.clients.migration_files import FOLDER, Migration
from shared.sql_script import Statement, qualified, read_script

_NEWER = {
    "NULLS NOT DISTINCT": 15,
    "SECURITY_INVOKER": 15,
    "MERGE INTO": 15,
    "CREATE OR REPLACE TRIGGER": 14,
    "JSON_TABLE (": 17,
    "WITHOUT OVERLAPS": 18,
    "NOT ENFORCED": 18,
    ") VIRTUAL": 18,
    "COMPRESSION LZ4": 14,
}
_TYPES = {
    "VECTOR": "vector",
    "HALFVEC": "vector",
    "SPARSEVEC": "vector",
    "CITEXT": "citext",
    "HSTORE": "hstore",
    "LTREE": "ltree",
    "GEOMETRY": "postgis",
    "GEOGRAPHY": "postgis",
}
_OPERATOR_CLASSES = {
    "GIN_TRGM_OPS": "pg_trgm",
    "GIST_TRGM_OPS": "pg_trgm",
    "VECTOR_COSINE_OPS": "vector",
    "VECTOR_L2_OPS": "vector",
    "VECTOR_IP_OPS": "vector",
}
_FUNCTIONS = {"UUID_GENERATE_V4": "uuid-ossp", "UUID_GENERATE_V1": "uuid-ossp", "GEN_SALT": "pgcrypto"}
_NAME = re.compile(r'("(?:[^"]|"")+"|\w+)(\.("(?:[^"]|"")+"|\w+))?')
_NOISE = {"IF", "NOT", "EXISTS", "ONLY", "CONCURRENTLY"}
# The words before a name, and what is wanted of what is named: to own it, or a privilege on it.
_TARGETS = (
    (("ALTER", "TABLE"), "owner"),
    (("DROP", "TABLE"), "owner"),
    (("ALTER", "SEQUENCE"), "owner"),
    (("DROP", "VIEW"), "owner"),
    (("DROP", "INDEX"), "owner"),
    (("TRUNCATE", "TABLE"), "TRUNCATE"),
    (("INSERT", "INTO"), "INSERT"),
    (("DELETE", "FROM"), "DELETE"),
    (("UPDATE",), "UPDATE"),
)


@dataclass(frozen=True)
class Extension:
    """A CREATE EXTENSION."""

    place: str
    name: str
    if_not_exists: bool


@dataclass(frozen=True)
class Provided:
    """Something that an extension brings: a type, an operator class or a function."""

    place: str
    thing: str
    kind: str
    extension: str


@dataclass
class Needs:
    """Each with the first place, `folder/migration.sql:line`, that needs it."""

    extensions: list[Extension] = field(default_factory=list)
    provided: list[Provided] = field(default_factory=list)
    versions: dict[tuple[str, int], str] = field(default_factory=dict)
    """What is written, and the first PostgreSQL that understands it."""
    rights: dict[tuple[str, str], str] = field(default_factory=dict)
    """A relation as written, and `owner` or a privilege."""
    new_schemas: dict[str, str] = field(default_factory=dict)


def needs_of(migrations: Sequence[Migration]) -> Needs:
    """What these need together, in order; what one of them makes itself is still named."""
    needs = Needs()
    for migration in migrations:
        for statement in read_script(migration.sql).statements:
            place = f"{FOLDER}/{migration.folder}/migration.sql:{statement.line}"
            _read(statement, place, needs)
    return needs


def _read(statement: Statement, place: str, needs: Needs) -> None:
    tokens = statement.tokens
    text = " ".join(tokens)
    for written, version in _NEWER.items():
        if re.search(rf"(?<!\w){re.escape(written)}(?!\w)", text):
            needs.versions.setdefault((written, version), place)
    if statement.begins("CREATE", "EXTENSION"):
        needs.extensions.append(_extension(tokens, place))
    elif statement.begins("CREATE", "SCHEMA"):
        needs.new_schemas.setdefault(text, place)
    else:
        needs.provided += _provided(tokens, place)
    for name, right in _rights(statement):
        if _NAME.fullmatch(name):
            needs.rights.setdefault((_folded(name), right), place)


def _extension(tokens: tuple[str, ...], place: str) -> Extension:
    rest = [token for token in tokens[2:] if token not in _NOISE]
    return Extension(
        place=place,
        name=_folded(rest[0]).strip('"') if rest else "",
        if_not_exists="EXISTS" in tokens,
    )


def _provided(tokens: tuple[str, ...], place: str) -> Iterator[Provided]:
    for before, token, after in zip(("", *tokens), tokens, (*tokens[1:], ""), strict=False):
        # A column may be called like a type; after a quoted name or a cast it is the type.
        if token in _TYPES and (before.startswith('"') or before == ":" or before == "TYPE"):
            yield Provided(place, token.lower(), "type", _TYPES[token])
        elif token in _OPERATOR_CLASSES:
            yield Provided(place, token.lower(), "operator class", _OPERATOR_CLASSES[token])
        elif token in _FUNCTIONS and after == "(":
            yield Provided(place, token.lower(), "function", _FUNCTIONS[token])


def _rights(statement: Statement) -> Iterator[tuple[str, str]]:
    tokens = [token for token in statement.tokens if token not in _NOISE]
    for words, right in _TARGETS:
        if tuple(tokens[: len(words)]) == words:
            yield qualified(tokens[len(words) :])[0], right
    if tokens[0] == "CREATE" and "INDEX" in tokens[1:3] and "ON" in tokens:
        yield qualified(tokens[tokens.index("ON") + 1 :])[0], "owner"
    if statement.begins("CREATE", "TABLE") or statement.begins("ALTER", "TABLE"):
        for place, token in enumerate(tokens):
            if token == "REFERENCES":
                yield qualified(tokens[place + 1 :])[0], "REFERENCES"


def _folded(name: str) -> str:
    """A name as PostgreSQL keeps it, quoted where it must be."""
    return re.sub(r'"(?:[^"]|"")+"|\w+', _folded_part, name)


def _folded_part(part: re.Match[str]) -> str:
    plain = part[0].strip('"')
    return (
        part[0].lower() if plain == part[0] else plain if re.fullmatch("[a-z_][a-z0-9_]*", plain) else part[0]
    )
