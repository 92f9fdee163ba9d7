"""Law: an error of a Project's database asks who can act on it, about what, with which cure; never an SRE.

Every code that PostgreSQL's appendix has is gone through, by asyncpg's own list of them, at every place.
"""

import inspect
import socket
from collections.abc import AsyncIterator
from typing import get_args

import asyncpg
import asyncpg.exceptions
import pytest

from services.executor.clients.database_errors import answer
from services.executor.clients.migration_files import Migration
from services.executor.clients.migrations import Patience, apply
from services.executor.clients.postgres import create_database, drop_database, not_now, session
from services.executor.clients.table_copy import misfit
from services.executor.domain.sqlstates import Asked, FindingKind, Place, finding_of, verdict_of
from services.planner.deadlines import ATTEMPTS_MAX
from shared.contracts.stages import Errored, Failed
from shared.errors import Failure, Retry, told
from tests.conftest import PostgresServer
from tests.planner.test_planner_choices import Road

CODES = sorted(
    {
        str(getattr(each, "sqlstate", ""))
        for _, each in inspect.getmembers(asyncpg.exceptions, inspect.isclass)
        if issubclass(each, asyncpg.PostgresError) and getattr(each, "sqlstate", None)
    }
)
# Of each class one that RAISE can raise, and those that are told apart within their class.
TOLD_APART = ("25006", "42501", "53300", "55006", "55P03", "57014", "57P01", "57P04", "08P01")


def test_every_code_at_every_place_has_somebody_to_ask() -> None:
    assert len(CODES) > 240
    assert len({code[:2] for code in CODES}) > 35
    for code in [*CODES, "99ZZZ", None]:
        for place in get_args(Place):
            verdict = verdict_of(code, place)
            assert verdict.asked in get_args(Asked)
            assert verdict.kind in get_args(FindingKind)
            assert len(verdict.cure) > 20
            found = finding_of(code, place, "production", "said")
            assert (found.subject, found.detail, found.cure) == ("production", "said", verdict.cure)


@pytest.mark.parametrize(
    ("code", "place", "asked", "kind", "passes"),
    [
        ("08006", "copy", "administrator", "environment", True),
        ("28P01", "probe", "administrator", "environment", False),
        ("3D000", "restore", "administrator", "environment", False),
        ("42501", "migration", "administrator", "environment", False),
        ("25006", "migration", "administrator", "environment", False),
        ("53100", "migration", "administrator", "environment", True),
        ("40P01", "way down", "administrator", "environment", True),
        ("55P03", "activate", "administrator", "environment", True),
        ("57014", "probe", "administrator", "environment", True),
        ("57014", "migration", "publisher", "migration", False),
        ("XX001", "copy", "administrator", "environment", False),
        ("23505", "migration", "publisher", "migration", False),
        ("P0001", "way down", "publisher", "migration", False),
        ("42P01", "migration", "publisher", "migration", False),
        ("42P01", "probe", "administrator", "environment", False),
        ("23514", "mask", "maintainer", "project-file", False),
        ("22001", "copy", "maintainer", "project-file", False),
    ],
)
def test_who_is_asked_depends_on_the_code_and_on_the_place(
    code: str, place: Place, asked: str, kind: str, passes: bool
) -> None:
    verdict = verdict_of(code, place)
    assert (verdict.asked, verdict.kind, verdict.passes) == (asked, kind, passes)


@pytest.fixture(scope="module")
async def url(postgres: PostgresServer) -> AsyncIterator[str]:
    await create_database(postgres.url(), "sqlstates")
    yield postgres.url("sqlstates")
    await drop_database(postgres.url(), "sqlstates")


def raising(code: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '{code}'; END $$"


async def test_whatever_a_stage_meets_is_answered_with_words(url: str) -> None:
    """Catches an error that ends as `errored`, waits for an SRE or says nothing: each is really raised."""
    raised: list[asyncpg.PostgresError] = []
    connection = await asyncpg.connect(url)
    for code in CODES:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(raising(code))
        raised.append(caught.value)
    await connection.close()
    with pytest.raises(asyncpg.UndefinedTableError) as marked:
        async with session(url) as ours:
            await ours.execute("TABLE nowhere")
    for error in (*raised, marked.value):
        # As a session leaves it that ends with it.
        error.upgradepath_at = marked.value.upgradepath_at
        answered = answer(error, "prepare")
        assert isinstance(answered, Failure | Retry), error.sqlstate
        findings = answered.outcome.findings if isinstance(answered, Failure) else answered.findings
        assert url.rpartition("@")[2] in str(answered)
        assert error.sqlstate in str(answered)
        assert [bool(each.subject and each.detail and each.cure) for each in findings] == [True]
        masked = misfit("users", error).outcome
        assert masked.reason
        assert error.sqlstate in masked.findings[0].detail
    assert answer(asyncpg.UndefinedTableError("ours"), "prepare") is None, (
        "a database of our own is not theirs"
    )


async def test_a_migration_that_raises_names_whom_to_ask(url: str) -> None:
    classes = {code[:2]: code for code in reversed(CODES)}
    for code in [*classes.values(), *TOLD_APART]:
        migration = Migration(f"2026_{code}", raising(code), "a" * 64)
        with pytest.raises((Failure, Retry)) as caught:
            await apply(url, [migration], (1, 1), run=[migration.folder], patience=Patience(1, 0.01, 0.01))
        error: Failure | Retry = caught.value  # type: ignore[assignment]
        (finding,) = error.outcome.findings if isinstance(error, Failure) else error.findings
        assert finding.subject in (migration.folder, f"database {url.rpartition('@')[2]}"), finding
        assert verdict_of(code, "migration").cure in finding.cure or isinstance(error, Retry)
        if isinstance(error, Failure):
            assert "SELECT logs FROM upgradepath.failure" in finding.cure, "its own words can be read there"
        assert code in str(error) or isinstance(error, Retry)


async def test_a_server_that_does_not_answer_is_said_to() -> None:
    """Catches an empty reason, and a silent database for which an SRE would be asked."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(Retry, match=r"cannot reach the database 127\.0\.0\.1:\d+/x: \S") as caught:
            async with session(f"postgresql://a:b@127.0.0.1:{port}/x"):
                pass
    (finding,) = caught.value.findings
    assert (finding.kind, finding.subject) == ("environment", f"database 127.0.0.1:{port}/x")
    late = not_now("cannot reach the database", "postgresql://a:b@h/x", TimeoutError())
    assert str(late).endswith("/x: no answer within 10 s")
    assert told(TimeoutError()) == "no answer in time"
    assert told(KeyError()) == "KeyError"


def test_the_maintainer_is_asked_after_the_last_try_and_an_sre_only_for_ours() -> None:
    finding = finding_of("08006", "copy", "database x", "said")
    for outcome, who in (
        (Errored(reason="x", findings=(finding,)), "maintainer"),
        (Errored(reason="x"), "sre"),
    ):
        road = Road()
        for left in reversed(range(ATTEMPTS_MAX)):
            road.answers(1, outcome)  # type: ignore[arg-type]
            if left:
                assert road.run.blocked_by is None, "what may pass is tried again first"
                road.world.wait_s(3600)
        assert road.run.blocked_by.who == who
        assert (finding.cure in road.run.blocked_by.cures) is (who == "maintainer")
    road = Road().answers(1, Failed(reason="no", findings=(finding,)))
    assert road.run.blocked_by.who == "maintainer"
