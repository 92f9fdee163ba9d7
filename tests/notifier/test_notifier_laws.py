"""The laws: no order of arrival loses a notification, and at most one is open for a System."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain import Releases, Standing, learn, offer, settle
from shared.contracts.releases import Release
from shared.contracts.values import Message
from shared.versions import precedence
from tests.notifier.notifier_world import NOON, after, facts, published, recorded, release, withdrawn

VERSIONS = ("0.9.0", "1.0.0", "1.2.4", "1.2.5", "1.3.0-rc.1", "1.3.0", "1.4.0", "2.0.0-rc.1", "2.0.0")
PROJECTS = ("acme-portal", "other-portal")
SYSTEMS = ("auth-system", "quote-system")


@st.composite
def histories(draw: st.DrawFn) -> list[Message]:
    """What the registry may have sent: releases, some withdrawn, and each Project's version maps."""
    messages: list[Message] = []
    for system in SYSTEMS:
        for version in draw(st.sets(st.sampled_from(VERSIONS), max_size=6)):
            migrations = draw(st.integers(0, 3))
            required = draw(st.booleans())
            messages.append(published(version, system=system, migrations=migrations, required=required))
            if draw(st.integers(0, 3)) == 0:
                messages.append(withdrawn(version, system=system, migrations=migrations, required=required))
    names = [system.removesuffix("-system") for system in SYSTEMS]
    for project in PROJECTS:
        for revision in range(1, draw(st.integers(0, 3)) + 1):
            pinned = draw(st.dictionaries(st.sampled_from(names), st.sampled_from(VERSIONS), min_size=1))
            messages.append(recorded(revision, project, **pinned))
    return messages


@given(histories().flatmap(lambda messages: st.tuples(st.just(messages), st.permutations(messages))))
def test_no_order_of_arrival_loses_a_notification(
    orders: tuple[Sequence[Message], Sequence[Message]],
) -> None:
    first, second = (after(messages) for messages in orders)
    assert [facts(one) for one in first.open()] == [facts(one) for one in second.open()]


@given(histories())
def test_a_repeat_tells_nothing(messages: list[Message]) -> None:
    once, twice = after(messages), after([*messages, *messages])
    assert twice.changes == once.changes


@given(histories().flatmap(st.permutations))
def test_what_is_open_is_the_newest_offer_and_nothing_else(messages: Sequence[Message]) -> None:
    store = after(messages)
    expected = {}
    for project, pins in ((one.project, one.pins) for one in store.inboxes.values()):
        for system, pinned in pins.items():
            if (offered := offer(pinned, store.known.get(system, {}))) is not None:
                expected[project, system] = (pinned, offered.version)
    assert {(one.project, one.system): (one.pinned, one.version) for one in store.open()} == expected


@given(histories().flatmap(st.permutations))
def test_whatever_is_told_is_newer_and_not_withdrawn_and_what_ends_is_told_too(
    messages: Sequence[Message],
) -> None:
    opened: set[tuple[str, str, str]] = set()
    for one in after(messages).changes:
        key = (one.project, one.system, one.version)
        if one.state != "open":
            opened.remove(key)
            continue
        opened.add(key)
        assert precedence(one.version) > precedence(one.pinned)
        assert one.what_changed[0].startswith(f"{one.version}: ")
        assert len({(project, system) for project, system, _ in opened}) == len(opened), "one per System"


@given(st.permutations([release("1.3.0"), release("1.3.0", withdrawn="Slow."), release("1.3.0")]))
def test_what_is_withdrawn_stays_withdrawn(releases: Sequence[Release]) -> None:
    known: Releases = {}
    for one in releases:
        known = learn(known, one)
    assert known["1.3.0"].withdrawn == "Slow."


def test_nothing_is_told_twice() -> None:
    known = {"1.3.0": release("1.3.0")}
    (ready,) = settle(Standing("p", "auth-system", "1.2.4", None), offer("1.2.4", known), known, NOON)
    assert settle(Standing("p", "auth-system", "1.2.4", ready), offer("1.2.4", known), known, NOON) == ()
