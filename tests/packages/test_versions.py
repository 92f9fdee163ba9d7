"""Laws of versions and constraints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Reject
from shared.versions import change_type, newest_first, parse_constraint, precedence, satisfies

NUMBERS = st.integers(0, 12)
RELEASES = st.builds("{}.{}.{}".format, NUMBERS, NUMBERS, NUMBERS)
PARTIALS = st.one_of(
    st.builds(str, NUMBERS), st.builds("{}.{}".format, NUMBERS, NUMBERS), st.builds(str, RELEASES)
)


@given(RELEASES, PARTIALS)
def test_each_comparison_is_the_opposite_of_another(version: str, other: str) -> None:
    assert satisfies(version, f"=={other}") != satisfies(version, f"!={other}")
    assert satisfies(version, f">={other}") != satisfies(version, f"<{other}")
    assert satisfies(version, f"<={other}") != satisfies(version, f">{other}")
    assert satisfies(version, f"=={other}") == satisfies(version, f">={other},<={other}")


@given(RELEASES, PARTIALS, PARTIALS)
def test_a_comma_means_and(version: str, one: str, two: str) -> None:
    both = satisfies(version, f">={one}, <{two}")
    assert both == (satisfies(version, f">={one}") and satisfies(version, f"<{two}"))


@given(RELEASES, RELEASES)
def test_whole_versions_compare_as_semver_orders_them(version: str, other: str) -> None:
    assert satisfies(version, f">{other}") == (precedence(version) > precedence(other))
    assert satisfies(version, f"=={other}") == (version == other)


@pytest.mark.parametrize(
    ("version", "constraint", "expected"),
    [
        ("0.3.9", ">=0.3,<0.4", True),
        ("0.4.0", ">=0.3,<0.4", False),
        ("0.4.0-rc.1", ">=0.3,<0.4", False),
        ("0.3.9", "<=0.3", True),
        ("0.3.9", ">0.3", False),
        ("1.9.0", "==1", True),
        ("1.3.0-rc.2", ">=1.3.0-rc.1", True),
        ("1.4.0-rc.2", ">=1.3.0-rc.1", False),
        ("1.3.0", ">=1.3.0-rc.1", True),
    ],
)
def test_examples(version: str, constraint: str, expected: bool) -> None:
    assert satisfies(version, constraint) is expected


@pytest.mark.parametrize(
    "text", ["", "1.0", "^1.0", ">=", ">=1,", ">=01", ">=1.2.3.4", ">=1.2-rc", "~=1", ">=1 <2"]
)
def test_what_is_no_constraint_is_refused_with_its_field_and_cure(text: str) -> None:
    with pytest.raises(Reject) as rejected:
        parse_constraint(text, field="requires.other")
    (refusal,) = rejected.value.refusals
    assert (refusal.field, refusal.value) == ("requires.other", text)
    assert ">=0.3,<0.4" in refusal.cure


@given(st.lists(RELEASES))
def test_sorting_loses_nothing_and_ends_with_the_oldest(versions: list[str]) -> None:
    ordered = newest_first(versions)
    assert sorted(ordered) == sorted(versions)
    assert ordered == sorted(versions, key=precedence, reverse=True)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("1.2.4", "1.2.5", "patch"),
        ("1.2.4", "1.3.0", "minor"),
        ("1.9.9", "2.0.0", "major"),
        ("1.3.0-rc.1", "1.3.0", "patch"),
    ],
)
def test_the_type_of_a_change(old: str, new: str, expected: str) -> None:
    assert change_type(old, new) == expected
