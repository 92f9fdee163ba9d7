"""The one rule for the name of a Run's staging database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clients.staging import staging_database_name, staging_database_url

RUN, OTHER = "run-0123456789ab", "run-ba9876543210"


def test_the_run_stands_behind_the_database_that_the_secret_names() -> None:
    secret = "postgresql://app:s%40cret@db.example:5433/acme?schema=public"
    expected = "postgresql://app:s%40cret@db.example:5433/acme_run_0123456789ab?schema=public"
    assert staging_database_url(secret, RUN) == expected


@given(st.from_regex(r"[a-z][a-z0-9_-]{0,90}", fullmatch=True))
def test_no_two_runs_share_a_database_and_postgresql_keeps_the_whole_name(name: str) -> None:
    secret = f"postgresql://127.0.0.1/{name}"
    ours, theirs = staging_database_name(secret, RUN), staging_database_name(secret, OTHER)
    assert ours != theirs
    assert len(ours.encode()) <= 63
    assert staging_database_url(secret, RUN).endswith(f"/{ours}")


def test_a_url_without_a_database_is_refused() -> None:
    with pytest.raises(ValueError, match="names no database"):
        staging_database_name("postgresql://127.0.0.1/", RUN)
