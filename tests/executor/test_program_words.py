"""The words of PostgreSQL's failing programs are recognised, and none of them is passed on."""

import pytest

from services.executor.domain.program_words import finding_of_program

ROW = "ann@acme.example"


@pytest.mark.parametrize(
    ("printed", "meaning", "cure"),
    [
        ("pg_dump: error: aborting because of server version mismatch", "older", "UPGRADES_POSTGRES_BIN"),
        ("pg_restore: error: unsupported version (1.16) in file header", "older", "UPGRADES_POSTGRES_BIN"),
        ("ERROR:  query would be affected by row-level security policy", "row security", "BYPASSRLS"),
        ("ERROR:  permission denied for large object 7", "large object", "LARGE OBJECT"),
        ("ERROR:  permission denied for table goods", "may not read", "GRANT"),
        ('ERROR:  extension "postgis" is not available', "extension", "install"),
        ("pg_dump: error: could not write to file: No space left on device", "disk", "room"),
        ("ERROR:  out of shared memory", "lock on each table", "max_locks_per_transaction"),
        ("ERROR:  canceling statement due to lock timeout", "holds a lock", "end the session"),
        ("ERROR:  canceling statement due to statement timeout", "too long", "statement_timeout"),
        ("FATAL:  password authentication failed for user", "lets the role", "password"),
        ("ERROR:  invalid page in block 4 of relation base/5/16385", "own files", "hosting's backup"),
        ("psql: error: server closed the connection unexpectedly", "connection", "start the server"),
        ("psql: error: FATAL:  too many connections for role", "no connection left", "CONNECTION LIMIT"),
        # psql says the code alone; whoever reads the Run is told what it means all the same.
        ("ERROR:  55P03", "55P03", "end the sessions"),
        ("psql:/tmp/a.rest.sql:7: ERROR:  53100", "53100", "more room"),
        ("pg_restore: error: input file does not appear to be a valid archive", "not whole", "new plan"),
        (
            'error: could not execute query: ERROR:  role "app_owner" does not exist',
            "a role that owns",
            "CREATE ROLE",
        ),
        ('failed: FATAL:  database "x" does not exist', "not on that server", "create the database"),
        ('failed: FATAL:  role "x" does not exist', "lets the role", "password"),
        ("failed: server does not support SSL, but SSL was required", "not encrypted", "sslmode"),
        ('psql: error: invalid URI query parameter: "pgbouncer"', "address", "secret"),
        ("ERROR:  cannot execute CREATE TABLE in a read-only transaction", "no writes", "primary"),
        (
            'query was: LOCK TABLE public.a IN ACCESS SHARE MODE\nERROR:  relation "a" does not exist',
            "dropped while",
            "retry while",
        ),
        ("ERROR:  cache lookup failed for type 1", "dropped while", "retry while"),
        ('ERROR:  tablespace "fast" does not exist', "stands on", "create it"),
        ('ERROR:  language "plpython3u" does not exist', "stands on", "install"),
        ('ERROR:  schema "x" already exists', "same name", "empty the target"),
        (
            'ERROR:  new row for relation "a" violates check constraint "c"',
            "break a rule",
            "correct these rows",
        ),
        ('ERROR:  could not create unique index "i"', "break a rule", "REINDEX"),
        ('invalid byte sequence for encoding "UTF8": 0x92', "encoding", "encoding"),
        ("ERROR:  function gen_random_uuid() does not exist", "search_path", "search_path"),
        ('ERROR:  type "public.citext" does not exist', "search_path", "schema before"),
        ("ERROR:  division by zero", "fails on its rows", "search_path"),
        (
            'ERROR:  unrecognized configuration parameter "transaction_timeout"',
            "server is older",
            "own version",
        ),
        ("compression method zstd is not supported in this build", "lacks", "UPGRADES_POSTGRES_BIN"),
        ("sh: pg_dump: not found", "missing", "UPGRADES_POSTGRES_BIN"),
        ("error: could not write to file: Disk quota exceeded", "disk", "room"),
        ('ERROR:  could not extend file "b": wrote only 4096 of 8192 bytes', "disk", "room"),
        ("error: could not write to output file: Input/output error", "a disk fails", "broken"),
        ("ERROR:  out of memory", "memory", "maintenance_work_mem"),
        ("ERROR:  could not access status of transaction 0", "own files", "hosting's backup"),
        ("error: could not find entry for ID 7", "not whole", "new plan"),
        ("pg_dump: error: something new", "nothing that is known", "log"),
    ],
)
def test_a_failure_names_what_failed_the_cure_and_a_way_on(printed: str, meaning: str, cure: str) -> None:
    found = finding_of_program("pg_dump", "db.acme.example:5432/shop", f"{printed}\nDETAIL:  {ROW}")
    assert found.subject == "database db.acme.example:5432/shop"
    assert meaning in found.detail
    assert cure in found.cure
    assert "upgradepath run retry" in found.cure
    assert ROW not in f"{found.detail}{found.cure}"
