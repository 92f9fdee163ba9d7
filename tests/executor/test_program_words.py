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
        ("pg_restore: error: input file does not appear to be a valid archive", "not whole", "new plan"),
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
