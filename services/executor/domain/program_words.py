"""The words of PostgreSQL's own programs when they fail: what they mean, and what would help. Pure.

Their text may quote rows, so it is only recognised; what is said of it are our own words.
"""

import re

from shared.contracts.stages import Finding

_UNKNOWN = ("it says nothing that is known", "see the server's log and the worker's for what it said")
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
            r"(?:could not (?:write|close|open|sync).{0,400}|: )No space left on device",
            "a disk is full",
            "give the worker's folder, or the server, as much room as the database takes",
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
            r"invalid page|checksum|could not read block|missing chunk number|invalid memory alloc",
            "the server cannot read its own files",
            "restore the server from its hosting's backup: its log says which file is damaged",
        ),
        (
            r"closed the connection|connection to server|terminating connection|SSL SYSCALL|no connection to"
            r"|could not connect|could not translate host|too many (?:clients|connections)"
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
            r"|could not (?:uncompress|read from input)",
            "the archive is not whole",
            "request a new plan, which makes another backup; look at the content store for what it lost",
        ),
    )
)


def finding_of_program(program: str, where: str, output: str) -> Finding:
    """The finding says what failed, why, and what leads on; nothing of `output` is in it."""
    known = ((meaning, cure) for pattern, meaning, cure in _CLASSES if pattern.search(output))
    meaning, cure = next(known, _UNKNOWN)
    return Finding(
        kind="environment",
        subject=f"database {where}",
        detail=f"{program} failed: {meaning}.",
        cure=f"{cure}; then `upgradepath run retry`",
    )
