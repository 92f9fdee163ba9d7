"""A rule that becomes weaker is seen, whichever way it is brought in."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.clients.mask_weakening import Masked, Masks, both, document, read_document, weaker
from services.executor.stages import prepare
from shared.errors import Failure
from shared.prisma.mask_words import RULES
from tests.executor.conftest import NewDatabase
from tests.executor.project_world import SCHEMA, make_world

BASE: Masks = {
    ("public", "users", "email"): Masked("hash", "text", True),
    ("public", "users", "born"): Masked("date 30", "date", True),
    ("public", "users", "id"): Masked("keep", "integer", False),
    ("shop", "bills", "data"): Masked("json", "jsonb", True),
}


def changed(*gone: tuple[str, str, str], **new: Masked) -> Masks:
    kept = {key: each for key, each in BASE.items() if key not in gone}
    named = {
        ("public", table, column): each for name, each in new.items() for table, column in [name.split("__")]
    }
    return kept | named


EMAIL, BORN = ("public", "users", "email"), ("public", "users", "born")


@pytest.mark.parametrize(
    ("masks", "lines"),
    [
        (BASE, ()),
        (changed(users__email=Masked("keep", "text", True)), ("users.email: hash becomes keep",)),
        (changed(users__email=Masked("null", "text", True)), ()),
        (changed(users__born=Masked("date 7", "date", True)), ("users.born: date 30 becomes date 7",)),
        (changed(users__born=Masked("date 300", "date", True)), ()),
        # It has become a key, a foreign key or a boolean, which needs no rule.
        (changed(users__email=Masked("keep", "bigint", False)), ("users.email: hash becomes keep",)),
        (
            changed(users__nick=Masked("keep", "text", True)),
            ("users.nick: new, and kept as it is",),
        ),
        (changed(users__age=Masked("number 1", "int", True)), ()),
        # Under another name, in its table or with it.
        (
            changed(EMAIL, users__mail=Masked("json a", "jsonb", True)),
            ("users.mail: json a, and it may be users.email, which was hash",),
        ),
        (changed(EMAIL, users__mail=Masked("email", "text", True)), ()),
        (
            changed(*BASE, people__born=Masked("date 1", "date", True)),
            ("people.born: date 1, and it may be users.born, which was date 30",),
        ),
        (
            changed(EMAIL, users__nr=Masked("keep", "text", False)),
            ("users.nr: keep, and it may be users.email, which was hash",),
        ),
    ],
)
def test_what_masks_less_is_named(masks: Masks, lines: tuple[str, ...]) -> None:
    assert weaker(masks, BASE) == lines


def test_without_rules_of_before_each_column_that_is_kept_is_named() -> None:
    masks = changed(users__nick=Masked("keep", "text", True))
    assert weaker(masks, None) == ("users.nick: kept as it is",)


def test_noise_of_one_step_is_named_where_nothing_was_accepted_before() -> None:
    """A first Run whose ages and days all move by one, which everybody can take back."""
    masks = {
        ("public", "users", "age"): Masked("number 1", "integer", True),
        ("public", "users", "born"): Masked("date 1", "date", True),
        ("public", "users", "paid"): Masked("number 10", "integer", True),
    }
    said = "which moves every value by the same and hides nothing"
    assert weaker(masks, None) == (f"users.age: number 1, {said}", f"users.born: date 1, {said}")


def test_keys_of_documents_count() -> None:
    shop = ("shop", "bills", "data")
    masks = {**BASE, shop: Masked("json a,b", "jsonb", True)}
    assert weaker(masks, BASE) == ("shop.bills.data: json becomes json a,b",)
    assert weaker({**BASE, shop: Masked("json a", "jsonb", True)}, masks) == ()
    assert weaker({**BASE, shop: Masked("json a,c", "jsonb", True)}, masks) != ()


RULE = st.sampled_from([*RULES, "date 7", "number 99", "json a", "json b"])


@given(st.dictionaries(st.sampled_from(sorted(BASE)), RULE, min_size=4), st.data())
def test_who_accepts_both_has_accepted_each_and_a_document_is_read_as_written(
    rules: dict[tuple[str, str, str], str], data: st.DataObject
) -> None:
    one = {key: Masked(rule, "text", True) for key, rule in rules.items()}
    other = {key: Masked(data.draw(RULE), "text", True) for key in rules}
    together = both(one, other)
    pairs = zip(one.values(), other.values(), strict=True)
    if not any({a.rule, b.rule} == {"json a", "json b"} for a, b in pairs):
        assert weaker(one, together) == weaker(other, together) == ()
    assert read_document(document(one)) == one
    assert weaker(one, one) == ()


async def test_prepare_copies_no_row_by_rules_that_nobody_accepted(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    """Rules on production's branch that are weaker than the Run's start accepted; and a Run that has none."""
    world = await make_world(tmp_path, new_database)
    accepted = {
        ("public", "users", "id"): Masked("keep", "integer", False),
        ("public", "users", "email"): Masked("email", "text", True),
    }
    world.masks = await world.tools.content.put(document(accepted))
    await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    world.base = await world.commit(
        "main", {"prisma/schema/main.prisma": SCHEMA.replace("@mask email", "@mask keep").encode()}, "Weaker"
    )
    # The branch of the copy before stands where it was.
    await world.clone.push(
        [
            (
                f"refs/heads/upgradepath/{world.job('prepare').run_id}",
                None,
                await world.clone.head(f"upgradepath/{world.job('prepare').run_id}"),
            )
        ]
    )
    with pytest.raises(Failure) as caught:
        await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
    (finding,) = caught.value.outcome.findings
    assert finding.subject == "users.email"
    assert "email becomes keep" in finding.detail
    assert await world.value(world.staging_url, "SELECT count(*) FROM users") == 0
    world.masks = None
    with pytest.raises(Failure, match="nobody has accepted"):
        await prepare.run(world.job("prepare"), world.prepare_task(), world.tools)
