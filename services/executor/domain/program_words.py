"""The words of PostgreSQL's own programs when they fail: what they mean, and what would help. Pure.

Their text may quote rows, so it is only recognised; what is said of it are our own words.
"""

import re

from services.executor.domain.sqlstates import verdict_of
from shared.contracts.stages import Finding

_UNKNOWN = ("it says nothing that is known", "see the server's log and the worker's for what it said")
_ADDRESS = "correct the address in the secret"
_CODE = re.compile(r"(?:ERROR|FATAL|PANIC): +(?P<code>[0-9A-Z]{5})$", re.MULTILINE)
"""All that psql says of an error: the server's words may quote a row."""
_BIN = "set UPGRADES_POSTGRES_BIN to the bin folder of the server's version or later"
# The first that is found counts: the more exact one stands before the others.
_CLASSES = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning, cure)
    for pattern, meaning, cure in (
        (
            r"server version mismatch|unsupported version \(.{0,40}\) in file header",
            "the program is older than the server, or than the program that made the archive",
            _BIN,
        ),
        (
            r"compression method .{0,40} is not supported|: (?:command )?not found\b",
            "the program is missing, or lacks what the archive uses",
            _BIN,
        ),
        (
            r"unrecognized configuration parameter",
            "the server is older than the program that made the archive",
            "set UPGRADES_POSTGRES_BIN to the bin folder of the server's own version",
        ),
        (
            r"execute query: ERROR:\s{1,4}role .{0,200} does not exist",
            "a role that owns something, or has rights in it, is missing on the server",
            "CREATE ROLE … NOLOGIN on the server for each owner that the database names",
        ),
        (
            r"database .{0,200} does not exist",
            "the database is not on that server",
            f"{_ADDRESS}, or create the database",
        ),
        (
            r"does not support SSL|certificate verify failed|no encryption|root certificate file",
            "the connection is not encrypted as the address wants it",
            "correct sslmode or sslrootcert in the secret, or the server's certificate",
        ),
        (
            r"invalid URI|invalid (?:connection option|port number|sslmode value|integer value)",
            "the address of the database cannot be used",
            _ADDRESS,
        ),
        (
            r"read-only transaction|during recovery",
            "the server takes no writes",
            "name the primary server in the secret, or let the database take writes again",
        ),
        (
            r"LOCK TABLE .{0,400}\s{0,4}.{0,200}does not exist|with OID \d{1,12} does not exist"
            r"|cache lookup failed|large object \d{1,12} does not exist",
            "something was dropped while it was read",
            "retry while nobody changes the schema",
        ),
        (
            r"(?:language|access method|tablespace|collation|text search \w{1,20}) .{0,200} does not exist",
            "the server lacks what the database stands on",
            "create it on the server as production has it, or install its package there",
        ),
        (
            r"(?:schema|relation|type|function|publication|constraint|extension) .{0,200} already exists",
            "the target has something of the same name already",
            "empty the target database, or name another one in the secret",
        ),
        (
            r"violates .{0,60} ?constraint|could not create unique index",
            "rows break a rule of their own table",
            "correct these rows where they were dumped: REINDEX and VALIDATE CONSTRAINT find them",
        ),
        (
            r"invalid byte sequence|encoding .{0,60} does not match|has no equivalent in encoding",
            "the text does not fit the encoding",
            "give the database the encoding and locale of the one that was dumped",
        ),
        (
            r"ERROR:\s{1,4}(?:function|type|relation|operator|column) .{0,200}does not exist"
            r"|division by zero",
            "a function or view finds what it uses only by a search_path, or fails on its rows",
            "write the schema before the names in its functions and views, or SET search_path in them",
        ),
        (
            r"row-level security policy",
            "row security would hide rows from the role",
            "ALTER ROLE … BYPASSRLS, or ALTER TABLE … NO FORCE ROW LEVEL SECURITY as the table's owner",
        ),
        (
            r"permission denied for large object|large object.{0,200}permission",
            "the role may not read a large object",
            "GRANT SELECT ON LARGE OBJECT … to the role, or ALTER LARGE OBJECT … OWNER TO it",
        ),
        (
            r"permission denied|must be owner|must be superuser|must be able to SET ROLE",
            "the role may not read or make all of it",
            "GRANT the role the owners of what is there, or name a role in the secret that has them",
        ),
        (
            r"extension .{0,200} is not available|extension control file"
            r"|could not (?:load library|access file)",
            "an extension's files are missing on the server",
            "install the extension's package on the server, in the version that the database has",
        ),
        (
            r"(?:could not (?:write|close|open|sync).{0,400}|: )(?:No space left on device|Disk quota)"
            r"|wrote only \d{1,9} of|temp_file_limit",
            "a disk is full",
            "give the worker's folder, or the server, as much room as the database takes",
        ),
        (
            r"Input/output error",
            "a disk fails",
            "look at the disk of the worker's folder and at the server's: one of them is broken",
        ),
        (
            r"out of memory|Cannot allocate memory",
            "the memory did not suffice",
            "give the server more memory, or lower its maintenance_work_mem and work_mem",
        ),
        (
            r"max_locks_per_transaction|out of shared memory",
            "the server has no room for a lock on each table",
            "raise max_locks_per_transaction of the server, and start it again",
        ),
        (
            r"lock timeout|could not obtain lock|deadlock detected",
            "somebody holds a lock that it needs",
            "end the session that holds it (pg_locks, pg_stat_activity), or retry when less goes on",
        ),
        (
            r"authentication failed|no pg_hba\.conf entry|role .{0,200} does not exist"
            r"|not permitted to log in",
            "the server lets the role not in",
            "correct the role, its password or the address in the secret",
        ),
        (
            r"invalid page|checksum|could not read block|missing chunk number|invalid memory alloc"
            r"|could not access status of transaction",
            "the server cannot read its own files",
            "restore the server from its hosting's backup: its log says which file is damaged",
        ),
        (
            r"too many (?:clients|connections)",
            "the server has no connection left for it",
            "end idle sessions, or raise the limit: ALTER ROLE … CONNECTION LIMIT, or max_connections",
        ),
        (
            r"closed the connection|connection to server|terminating connection|SSL SYSCALL|no connection to"
            r"|could not connect|could not translate host"
            r"|starting up|shutting down",
            "the connection was refused, or was lost on the way",
            "start the server, or let the worker reach it; see its log for why the connection ended",
        ),
        (
            r"statement timeout|canceling statement|idle-in-transaction",
            "the server ended it for taking too long",
            "let the role take longer: ALTER ROLE … SET statement_timeout = 0",
        ),
        (
            r"does not appear to be a valid archive|unexpected end of file"
            r"|could not (?:uncompress|read from input)"
            r"|could not find entry for ID",
            "the archive is not whole",
            "request a new plan, which makes another backup; look at the content store for what it lost",
        ),
    )
)


def finding_of_program(program: str, where: str, output: str) -> Finding:
    """The finding says what failed, why, and what leads on; nothing of `output` is in it."""
    known = ((meaning, cure) for pattern, meaning, cure in _CLASSES if pattern.search(output))
    code = _CODE.search(output)
    otherwise = _UNKNOWN
    if code is not None:
        said = f"the server ended it with SQLSTATE {code['code']}"
        otherwise = (said, verdict_of(code["code"], "restore").cure)
    meaning, cure = next(known, otherwise)
    return Finding(
        kind="environment",
        subject=f"database {where}",
        detail=f"{program} failed: {meaning}.",
        cure=f"{cure}; then `upgradepath run retry`",
    )
