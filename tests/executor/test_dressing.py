"""Owners, rights, labels and the like as statements; which things are no longer in what they were in."""

import pytest

from services.executor.domain.dressing import OWNER, Aspect, Worn, fixes, not_as_given
from services.executor.domain.marks import mark
from services.executor.domain.reach import Reach
from services.executor.domain.things import Thing
from shared.sql.parsing import parse
from shared.sql.scene import Scene

_THINGS = (
    "TABLE public.t", "FOREIGN TABLE public.t", "VIEW public.v", "MATERIALIZED VIEW public.v",
    "SEQUENCE public.s", "FUNCTION public.f(integer)", "PROCEDURE public.f(integer)",
    "AGGREGATE public.f(integer)", "TYPE public.k", "DOMAIN public.d", "SCHEMA shop",
)  # fmt: skip


@pytest.mark.parametrize("thing", _THINGS)
def test_what_puts_it_on_is_sql_for_every_kind_of_thing(thing: str) -> None:
    privilege = {"SEQ": "USAGE", "FUN": "EXECUTE", "PRO": "EXECUTE", "AGG": "EXECUTE"}.get(
        thing[:3], "SELECT"
    )
    privilege = "USAGE" if thing[:2] in ("TY", "DO", "SC") else privilege
    worn = {
        Aspect(thing, "rights"): Worn("1", (f"reader|{privilege}|", f"public|{privilege}|grants")),
        Aspect(thing, "owner"): Worn("1", ("somebody",)),
        Aspect(thing, "comment"): Worn("1.0", ("it's",)),
        Aspect(thing, "label", "selinux"): Worn("1.0", ("a:b",)),
    }
    statements = fixes({}, worn)
    assert len(statements) == 5
    for each in statements:
        assert parse(each), each


def test_default_privileges_give_a_thing_that_is_made_anew_no_more_than_it_had() -> None:
    """A view that one role could not read is made anew where every new view is that role's to read."""
    worn = {
        Aspect("NEW TABLE", "given", ""): Worn("", (f"{OWNER}|SELECT|", "reader|SELECT|", "writer|INSERT|")),
        Aspect("NEW FUNCTION", "given", "shop"): Worn("", ("reader|EXECUTE|",)),
        Aspect("VIEW public.v", "rights"): Worn("1", (f"{OWNER}|SELECT|", "writer|INSERT|")),
        Aspect("VIEW public.w", "rights"): Worn("2", (f"{OWNER}|SELECT|",)),
        Aspect("SEQUENCE public.s", "rights"): Worn("3", (f"{OWNER}|USAGE|",)),
        Aspect("FUNCTION public.f()", "rights"): Worn("4", ("public|EXECUTE|",)),
    }
    worn[Aspect("VIEW public.v", "rights", "id")] = Worn("1.1", ("reader|SELECT|",))
    said, again = not_as_given(worn, ["VIEW public.v", "SEQUENCE public.s", "FUNCTION public.f()"])
    assert 'REVOKE ALL ON TABLE public.v FROM "reader"' in said
    assert "to_regrole" in said
    assert 'GRANT SELECT (id) ON TABLE public.v TO "reader"' in again


def test_a_table_made_anew_is_in_no_publication_any_more() -> None:
    reach = Reach(published={("public", "t"): ("all_of_it",)})
    gone = [Thing("table", "public", "", "t"), Thing("table", "public", "", "u")]
    marked, lost = mark((), (), Scene(), reach, gone)
    assert marked == "restore only"
    assert [each for each in lost if "published" in each] == [
        "t is made anew, and no longer published by all_of_it"
    ]
