"""What a restore would undo is counted as a model counts it, whoever wrote what and in whatever order."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.postgres import postgres_bin_folder
from services.executor.clients.backup import Programs
from services.executor.clients.migration_files import Migration
from services.executor.clients.migrations import apply
from services.executor.clients.postgres import session
from services.executor.clients.written_since import Counts, Written, beginning, keep, since_backup
from shared.clients.database_urls import server_url
from tests.executor.conftest import NewDatabase

TOKEN = (1, 1)

Write = tuple[str, int]
"""What is done, and to which row."""
writes = st.lists(st.tuples(st.sampled_from(("insert", "update", "delete")), st.integers(0, 5)), max_size=4)
Step = tuple[str, list[Write]]
steps = st.lists(st.tuples(st.sampled_from(("customer", "upgrade")), writes), max_size=5)


@dataclass
class Model:
    """Rows in a list, as a table without a key may have an id twice."""

    then: int = 0
    rows: list[tuple[int, bool, str]] = field(default_factory=list)
    """A row's id, whether the backup has it, and who wrote it last since."""

    def back_up(self) -> None:
        self.then = len(self.rows)
        self.rows = [(row, True, "nobody") for row, _, _ in self.rows]

    def write(self, who: str, done: Sequence[Write]) -> None:
        for what, row in done:
            if what == "insert":
                self.rows.append((row, False, who))
            elif what == "delete":
                self.rows = [each for each in self.rows if each[0] != row]
            else:
                self.rows = [(*each[:2], who) if each[0] == row else each for each in self.rows]

    def counts(self) -> Counts:
        by = [who for _, _, who in self.rows]
        return Counts(self.then, by.count("nobody"), by.count("customer"), by.count("upgrade"))

    def lost(self) -> int:
        """Rows of the backup that are removed or changed."""
        return self.then - sum(old and who == "nobody" for _, old, who in self.rows)


def sql_of(write: Write) -> str:
    what, row = write
    match what:
        case "insert":
            return f"INSERT INTO things VALUES ({row}, 0)"
        case "update":
            return f"UPDATE things SET value = value + 1 WHERE id = {row}"
        case _:
            return f"DELETE FROM things WHERE id = {row}"


def migration(folder: str, sql: str) -> Migration:
    return Migration(folder, sql, hashlib.sha256(sql.encode()).hexdigest(), None)


async def run(url: str, sql: str) -> None:
    async with session(url) as connection:
        await connection.execute(sql)


async def upgrade(url: str, *migrations: Migration) -> list[str]:
    await apply(url, migrations, TOKEN)
    return [each.folder for each in migrations]


async def backed_up(url: str, backup: str = "backup") -> None:
    async with beginning(url) as noted:
        pass
    await keep(url, backup, noted)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(0, 4), overtaking=writes, meanwhile=writes, after=steps)
async def test_the_counts_are_those_of_a_model(
    new_database: NewDatabase, rows: int, overtaking: list[Write], meanwhile: list[Write], after: list[Step]
) -> None:
    url = await new_database()
    history = [migration("0", "CREATE TABLE things (id int, value int)")]
    await upgrade(url, *history)
    await run(url, f"INSERT INTO things SELECT n, 0 FROM generate_series(1, {rows}) n")
    model = Model(rows=[(row, True, "nobody") for row in range(1, rows + 1)])
    slow = await asyncpg.connect(server_url(url))
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute("INSERT INTO things VALUES (100, 0)")
    # What began later and is done: each write in a transaction within one, with a number of its own.
    await run(url, f"BEGIN; {''.join(f'SAVEPOINT s; {each}; ' for each in map(sql_of, overtaking))} COMMIT")
    model.write("nobody", overtaking)
    model.back_up()
    async with beginning(url) as noted:
        await run(url, "; ".join(map(sql_of, meanwhile)) or "SELECT 1")
        await transaction.commit()
    await slow.close()
    await keep(url, "backup", noted)
    model.write("customer", [*meanwhile, ("insert", 100)])
    for number, (who, done) in enumerate(after, 1):
        sql = "; ".join(map(sql_of, done)) or "SELECT 1"
        if who == "customer":
            await run(url, sql)
        else:
            history.append(migration(str(number), sql))
            await upgrade(url, *history)
        model.write(who, done)

    written = await since_backup(url, "backup", [each.folder for each in history])
    assert written == Written({"things": model.counts()})
    counts = written.tables["things"]
    assert counts.gone <= model.lost()
    assert counts.upgraded or counts.gone == model.lost()


async def test_tables_that_are_gone_renamed_replaced_or_new(new_database: NewDatabase) -> None:
    url = await new_database()
    three = " AS SELECT n FROM generate_series(1, 3) n;"
    tables = "".join(f"CREATE TABLE {name}{three}" for name in ("gone", "old", "replaced"))
    parts = "CREATE TABLE parts (n int) PARTITION BY RANGE (n);" + "".join(
        f"CREATE TABLE part{n} PARTITION OF parts FOR VALUES FROM ({n}) TO ({n + 1});" for n in range(2)
    )
    history = [migration("1", f"{tables}{parts} INSERT INTO parts VALUES (0), (0), (1)")]
    await upgrade(url, *history)
    await backed_up(url)
    await run(url, "DROP TABLE gone; DROP TABLE part0; INSERT INTO parts VALUES (1)")
    history += [
        migration("2", "ALTER TABLE old RENAME TO new; CREATE TABLE made (n int)"),
        migration(
            "3",
            "CREATE TABLE copy AS TABLE replaced; DROP TABLE replaced; ALTER TABLE copy RENAME TO replaced",
        ),
        migration("4", "BEGIN; INSERT INTO made VALUES (1); COMMIT; INSERT INTO made VALUES (2)"),
    ]
    folders = await upgrade(url, *history)
    assert await since_backup(url, "backup", folders) == Written(
        {
            "gone": Counts(then=3),
            "made": Counts(upgraded=2),
            "parts": Counts(then=3, untouched=1, written=1),
            "replaced": Counts(then=3, upgraded=3),
        }
    )
    await run(url, "INSERT INTO made VALUES (3); DELETE FROM replaced WHERE n = 1")
    written = await since_backup(url, "backup", folders)
    assert written is not None
    assert written.tables["made"] == Counts(written=1, upgraded=2)
    assert written.tables["replaced"] == Counts(then=3, upgraded=2)
    assert written.words() == (
        "A restore would undo, of what was written since the backup: gone: 3 of 3 rows in the backup"
        " removed or changed; made: at least 1 row added or changed; parts: 1 row added or changed, 2 of 3"
        " rows in the backup removed or changed; replaced: at least 1 of 3 rows in the backup"
        " removed or changed. Left out are the rows that the upgrade wrote"
        " (2 of made, 2 of replaced; it may have written over"
        " what others wrote before), not those that it removed."
    )


async def test_what_a_script_wrote_that_ends_its_transactions_is_not_told_apart(
    new_database: NewDatabase,
) -> None:
    url = await new_database()
    history = [migration("1", "CREATE TABLE things (n int)")]
    await upgrade(url, *history)
    await backed_up(url)
    assert (await since_backup(url, "backup", ["1"])) == Written({})
    loop = "FOR n IN 1..3 LOOP INSERT INTO things VALUES (n); COMMIT; END LOOP"
    history.append(migration("2", f"DO $$ BEGIN {loop}; END $$"))
    written = await since_backup(url, "backup", await upgrade(url, *history))
    assert written == Written({"things": Counts(written=3)}, untold=("2",))
    assert "What 2 wrote cannot be told apart and is counted." in written.words()


async def test_of_a_backup_that_nobody_noted_nothing_is_known(new_database: NewDatabase) -> None:
    url = await new_database()
    assert await since_backup(url, "backup", []) is None
    await backed_up(url)
    assert await since_backup(url, "another", []) is None


async def test_a_transaction_open_for_very_long_has_more_counted_and_none_less(
    new_database: NewDatabase,
) -> None:
    url = await new_database()
    await run(url, "CREATE TABLE things AS SELECT 1 AS id")
    async with session(url) as slow, slow.transaction():
        await slow.execute("SELECT pg_current_xact_id()")
        for _ in range(3):
            await run(url, "INSERT INTO things VALUES (2)")
        for most in (3, 2):
            async with beginning(url, overtaking_max=most) as noted:
                pass
            await keep(url, f"at most {most}", noted)
    await run(url, "DELETE FROM things WHERE id = 1")
    exact, more = [await since_backup(url, f"at most {most}", []) for most in (3, 2)]
    assert exact == Written({"things": Counts(then=4, untouched=3)})
    assert more == Written({"things": Counts(then=1, written=3)})


async def test_the_dump_holds_what_was_counted(tmp_path: Path, new_database: NewDatabase) -> None:
    url, file = await new_database(), tmp_path / "all.dump"
    await run(url, "CREATE TABLE things AS SELECT 'old' AS what")
    programs = Programs(postgres_bin_folder())
    async with beginning(url) as noted:
        await run(url, "INSERT INTO things VALUES ('late')")
        await programs.dump(url, file, noted.snapshot)
    await keep(url, "backup", noted)
    written = await since_backup(url, "backup", [])
    assert written is not None
    assert written.tables == {"things": Counts(then=1, untouched=1, written=1)}
    await programs.restore(url, file, TOKEN)
    async with session(url) as connection:
        assert await connection.fetchval("SELECT array_agg(what) FROM things") == ["old"]
