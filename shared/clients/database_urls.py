"""PostgreSQL URLs as Projects write them: Prisma's own parameters may be among PostgreSQL's."""

from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

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


def database_of(url: str) -> str:
    """The name of the URL's database."""
    return unquote(urlsplit(url).path.lstrip("/"))


def with_database(url: str, name: str) -> str:
    """The same server and parameters, another database."""
    return urlunsplit(urlsplit(url)._replace(path="/" + quote(name, safe="")))


def place(url: str) -> str:
    """Where a URL leads, for people: host and database, no user and no password."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 5432}/{database_of(url)}"
