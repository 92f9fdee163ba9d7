"""PostgreSQL URLs as Projects write them: Prisma's own parameters may be among PostgreSQL's."""

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

DEFAULT_SCHEMA = "public"
_PRISMA_PARAMETERS = frozenset(
    {"schema", "connection_limit", "pool_timeout", "socket_timeout", "connect_timeout", "pgbouncer"}
)


def server_url(url: str) -> str:
    """The URL without Prisma's parameters, as PostgreSQL's own programs take it."""
    parts = urlsplit(url)
    kept = [(key, value) for key, value in parse_qsl(parts.query) if key not in _PRISMA_PARAMETERS]
    return urlunsplit(parts._replace(query=urlencode(kept)))


def schema_of(url: str) -> str:
    """The schema in which Prisma puts what names none."""
    return dict(parse_qsl(urlsplit(url).query)).get("schema", DEFAULT_SCHEMA)
