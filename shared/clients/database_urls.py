"""PostgreSQL URLs as Projects write them: Prisma's own parameters may be among PostgreSQL's."""

from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from shared.clients.libpq import UnusableUrl, addresses, query_of

DEFAULT_SCHEMA = "public"
_PRISMA_PARAMETERS = frozenset(
    {
        "schema",
        "connection_limit",
        "pool_timeout",
        "socket_timeout",
        "connect_timeout",
        "pgbouncer",
        "statement_cache_size",
    }
)


def server_url(url: str) -> str:
    """The URL without Prisma's parameters, as PostgreSQL's own programs take it.

    Prisma's way to prove a server is said in PostgreSQL's words. Raises `UnusableUrl` for its archive of
    keys, which only Prisma reads.
    """
    parts = urlsplit(url)
    kept = {key: value for key, value in query_of(url).items() if key not in _PRISMA_PARAMETERS}
    if "sslidentity" in kept:
        raise UnusableUrl("sslidentity in a PostgreSQL URL is Prisma's: name sslcert and sslkey in PEM")
    if kept.pop("sslaccept", None) == "strict":
        kept["sslmode"] = "verify-full"
        if "sslcert" in kept and "sslkey" not in kept:
            kept["sslrootcert"] = kept.pop("sslcert")
        kept.setdefault("sslrootcert", "system")
    return urlunsplit(parts._replace(query=urlencode(kept, quote_via=quote)))


def schema_of(url: str) -> str:
    """The schema in which Prisma puts what names none."""
    return query_of(url).get("schema", DEFAULT_SCHEMA)


def database_of(url: str) -> str:
    """The name of the URL's database."""
    return unquote(urlsplit(url).path.lstrip("/"))


def with_database(url: str, name: str) -> str:
    """The same server and parameters, another database."""
    return urlunsplit(urlsplit(url)._replace(path="/" + quote(name, safe="")))


def place(url: str) -> str:
    """Where a URL leads, for people: host and database, no user and no password."""
    try:
        found = [f"{one.host}:{one.port}" for one in addresses(url)]
    except UnusableUrl:
        found = ["a server"]
    return f"{','.join(found) or 'localhost:5432'}/{database_of(url)}"
