"""Where database and repository disagree, all of it is named before anything is applied."""

from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.clients.migration_files import Migration
from services.executor.clients.migration_table import Row
from services.executor.clients.misfits import misfits, script_faults

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
STAMPS = [f"2026010100000{number}_m{number}" for number in range(6)]


def migration(folder: str, sql: str = "SELECT 1", down: str | None = None) -> Migration:
    return Migration(folder, sql, sha256(sql.encode()).hexdigest(), down)


def row(each: Migration, *, logs: str | None = None, done: bool = True, parts: int = -1) -> Row:
    finished = WHEN if done else None
    return Row(
        each.folder, each.folder, each.checksum, WHEN, finished, None, logs, parts >= 0, max(parts, 0), False
    )


def history(*folders: str) -> dict[str, Migration]:
    return {folder: migration(folder, f"SELECT '{folder}'") for folder in folders}


@given(done=st.integers(0, 6), run=st.integers(0, 6))
def test_a_straight_history_fits(done: int, run: int) -> None:
    known = history(*STAMPS)
    rows = [row(known[name]) for name in STAMPS[:done]]
    assert misfits(rows, known, STAMPS[min(done, run) :]) == []


@given(late=st.sampled_from(STAMPS[:-1]))
def test_a_late_one_is_named_unless_its_own_run_brought_the_others(late: str) -> None:
    known = history(*STAMPS)
    rows = [row(each) for name, each in known.items() if name != late]
    (found,) = misfits(rows, known, [late])
    assert found.subject == late
    assert "out of order" in found.detail
    assert STAMPS[-1] in found.detail
    assert misfits(rows, known, STAMPS) == []


def test_everything_that_is_wrong_is_told_at_once_with_its_cure() -> None:
    known = history(*STAMPS)
    edited, gone, failed = (
        migration(STAMPS[0], "SELECT 'other'"),
        migration("2025_gone", "SELECT 2"),
        STAMPS[2],
    )
    renamed = migration("2025_old_name", known[STAMPS[3]].sql)
    rows = [
        row(edited),
        row(gone),
        row(renamed),
        row(known[failed], logs="it broke\nDETAIL: ann", done=False),
    ]
    rows += [row(known[STAMPS[4]])]
    found = {each.subject: each for each in misfits(rows, known, [failed, STAMPS[3], STAMPS[5]])}
    assert "edited" in found[STAMPS[0]].detail
    assert "has not" in found[STAMPS[1]].detail
    assert "P3009" in found[failed].detail
    assert "ann" not in found[failed].detail
    assert f"renamed to {STAMPS[3]}" in found["2025_old_name"].detail
    assert "no such folder" in found["2025_gone"].detail
    assert all(each.cure and each.kind == "migration" for each in found.values())
    assert STAMPS[5] not in found


@pytest.mark.parametrize("ran", ["a\nb\n", "a\r\nb\r\n"])
@pytest.mark.parametrize("now", ["a\nb\n", "a\r\nb\r\n"])
def test_line_ends_that_git_changed_are_no_edit(ran: str, now: str) -> None:
    assert misfits([row(migration("1_a", ran))], {"1_a": migration("1_a", now)}, []) == []


def test_an_old_checksum_without_its_zeros_is_the_same() -> None:
    each = migration("1_a")
    short = "".join(f"{byte:x}" for byte in bytes.fromhex(each.checksum))
    assert short != each.checksum
    assert each.ran_as(short)
    assert not each.ran_as("0" + short[1:])


@pytest.mark.parametrize(
    ("sql", "parts", "told"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (x)", 0, None),
        ("VACUUM t", 0, None),
        ("BEGIN; SELECT 1; COMMIT; SELECT 2", 1, None),
        ("DO $$ BEGIN UPDATE t SET x = 1; COMMIT; END $$", 0, "nobody can tell"),
    ],
)
def test_what_a_crash_left_is_gone_on_with_where_its_state_is_known(
    sql: str, parts: int, told: str | None
) -> None:
    each = migration("1_a", sql)
    found = misfits([row(each, done=False, parts=parts)], {"1_a": each}, ["1_a"])
    assert [each.detail.partition("transaction: ")[2][: len(told or "")] for each in found] == (
        [told] if told else []
    )


def test_half_of_a_script_is_no_ground_for_another_script() -> None:
    ran, now = migration("1_a", "SELECT 1; COMMIT; SELECT 2"), migration("1_a", "SELECT 1; COMMIT; SELECT 3")
    (found,) = misfits([row(ran, done=False, parts=1)], {"1_a": now}, ["1_a"])
    assert "edited after 1 of its transactions" in found.detail


def test_scripts_that_cannot_run_are_told_with_file_and_line() -> None:
    found = script_faults(
        [
            migration("1 with spaces", "SELECT 1;\n\\echo hi"),
            migration("2_down", "SELECT 1", "BEGIN;\nDROP TABLE t;\nCOMMIT"),
            migration("3_" + "x" * 300),
            migration("4_fine", "", ""),
        ]
    )
    assert [each.subject.removeprefix("prisma/migrations/")[:24] for each in found] == [
        "1 with spaces/migration.",
        "2_down/down.sql:1",
        "2_down/down.sql:3",
        "3_" + "x" * 22,
    ]
    assert found[0].subject.endswith("migration.sql:2")
