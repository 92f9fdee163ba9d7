"""Moments of the outside are lawful in every form of RFC 3339, wherever one is read."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from cli.durations import moment, moment_or_ago
from shared.clock import utc_now
from shared.identity.revoked import Revocations

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "typed",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01t12:00:00z",
        "2026-03-01 12:00:00z",
        "2026-03-01T13:00:00+01:00",
        "2026-03-01T12:00:00.000000000Z",
        "2026-03-01T11:59:60Z",
        "2026-03-01T12:00",
        "2026-03-01 12:00:00",
    ],
)
def test_a_moment_is_typed_in_any_lawful_form(typed: str) -> None:
    """Catches an option that refuses a zone, small letters, fractions or a leap second."""
    assert moment(typed) == moment_or_ago(typed) == NOON


def test_a_day_begins_at_midnight_and_an_age_counts_back() -> None:
    assert moment("2026-03-01") == NOON - timedelta(hours=12)
    assert abs(utc_now() - timedelta(hours=2) - moment_or_ago("2h")) < timedelta(minutes=1)


@pytest.mark.parametrize("typed", ["noon", "", "2026-13-01T00:00:00Z", "2026-03-01T25:00:00Z"])
def test_what_is_not_a_moment_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(typer.BadParameter, match="2026-03-01T12:00"):
        moment(typed)
    with pytest.raises(typer.BadParameter, match="90s, 2h or 3d"):
        moment_or_ago(typed)


@pytest.mark.parametrize("at", ["2026-03-01T12:00:00Z", "2026-03-01t12:00:00z", "2026-03-01T13:00:00+01:00"])
def test_a_line_that_calls_tokens_back_has_its_moment_in_any_form(at: str) -> None:
    """Catches a list of another tool whose lawful line would stop every service at its start."""
    found = Revocations.read(f"before {at} mira@acme.example\n")
    assert found.before_s == {"mira@acme.example": NOON.timestamp()}
