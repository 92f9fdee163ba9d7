"""The five facts, and how a notification ends."""

import pytest

from services.notifier.store import NotifierTransaction
from shared.contracts.envelope import to_body
from shared.contracts.notifications import NotificationClosed, NotificationReady
from shared.messaging.reminder import Reminder
from tests.notifier.notifier_world import Notifier, after, facts, published, recorded, withdrawn

PINNED = recorded(1, auth="1.2.4")


async def test_the_five_facts(notifier: Notifier) -> None:
    await notifier.hear(
        published("1.2.4"),
        PINNED,
        published("1.2.5", required=True),
        published("1.3.0", migrations=2, breaking=["Sign-in moves."]),
    )
    (one,) = await notifier.told()
    assert (one.version, one.pinned, one.change) == ("1.3.0", "1.2.4", "minor")
    assert one.what_changed == ("1.3.0: What 1.3.0 brings", "1.2.5: What 1.2.5 brings")
    assert one.migration_required
    assert one.required, "who jumps over a required version still has to adopt it"
    assert one.breaking == ("Sign-in moves.",)
    assert one.supersedes == ("1.2.5",)


@pytest.mark.parametrize(
    ("pinned", "newer", "change"),
    [("1.2.4", "1.2.5", "patch"), ("1.2.4", "1.3.0", "minor"), ("1.2.4", "2.0.0", "major")],
)
def test_the_change_is_told_against_the_pinned_version(pinned: str, newer: str, change: str) -> None:
    (one,) = after([published(pinned), recorded(1, auth=pinned), published(newer)]).open()
    assert one.change == change


def test_no_migration_is_required_when_none_is_new() -> None:
    (one,) = after([published("1.2.4", migrations=2), PINNED, published("1.3.0", migrations=2)]).open()
    assert not one.migration_required


def test_an_unknown_pinned_release_may_lack_every_migration() -> None:
    (one,) = after([PINNED, published("1.3.0", migrations=1)]).open()
    assert one.migration_required
    (none,) = after([PINNED, published("1.3.0", migrations=0)]).open()
    assert not none.migration_required


@pytest.mark.parametrize(
    ("pinned", "told"), [("1.3.0", []), ("1.4.0-rc.1", ["1.4.0-rc.2"]), ("1.4.0-rc.2", [])]
)
def test_pre_releases_are_told_to_who_pins_one(pinned: str, told: list[str]) -> None:
    store = after([recorded(1, auth=pinned), published("1.4.0-rc.2")])
    assert [one.version for one in store.open()] == told


async def test_a_newer_release_supersedes_the_older_notification(notifier: Notifier) -> None:
    await notifier.hear(published("1.2.4"), PINNED, published("1.2.5"), published("1.3.0"))
    first, closed, second = await notifier.sent()
    assert isinstance(first, NotificationReady)
    assert isinstance(closed, NotificationClosed)
    assert isinstance(second, NotificationReady)
    assert [first.revision, closed.revision, second.revision] == [1, 2, 3]
    assert (closed.notification.version, closed.notification.state) == ("1.2.5", "superseded")
    assert second.notification.supersedes == ("1.2.5",)


async def test_adopting_closes_it(notifier: Notifier) -> None:
    await notifier.hear(published("1.3.0"), PINNED, recorded(2, auth="1.3.0"))
    assert await notifier.told() == []
    (closed,) = await notifier.told(state="adopted")
    assert closed.reason == "1.3.0 is pinned"


async def test_a_withdrawal_closes_it_and_the_next_best_is_told(notifier: Notifier) -> None:
    await notifier.hear(published("1.2.5"), published("1.3.0"), PINNED, withdrawn("1.3.0", "Slow."))
    (one,) = await notifier.told()
    assert one.version == "1.2.5"
    (closed,) = await notifier.told(state="withdrawn")
    assert (closed.version, closed.reason) == ("1.3.0", "Slow.")


async def test_moving_closer_changes_the_facts_of_what_is_open(notifier: Notifier) -> None:
    await notifier.hear(published("1.2.5"), published("1.3.0"), PINNED)
    await notifier.sent()
    await notifier.hear(recorded(2, auth="1.2.5"))
    (ready,) = await notifier.sent()
    assert isinstance(ready, NotificationReady)
    assert ready.notification.what_changed == ("1.3.0: What 1.3.0 brings",)
    assert [one.pinned for one in await notifier.told()] == ["1.2.5"]


async def test_a_system_that_is_not_pinned_any_more_concerns_nobody(notifier: Notifier) -> None:
    await notifier.hear(published("1.3.0"), PINNED, recorded(2, quote="1.0.0"))
    assert await notifier.told() == []


async def test_one_batch_is_as_good_as_one_by_one(notifier: Notifier) -> None:
    messages = [published("1.2.5"), PINNED, published("1.3.0"), withdrawn("1.3.0"), published("1.4.0")]
    maps = [recorded(2, auth="1.2.5"), recorded(1, "other-portal", auth="1.2.4")]
    await notifier.hear_together([*messages, *maps, *messages])
    expected = after([*messages, *maps]).open()
    told = [*await notifier.told("acme-portal"), *await notifier.told("other-portal")]
    assert [facts(one) for one in told] == [facts(one) for one in expected]


async def test_a_broker_that_forgot_is_told_the_same_bytes_again(notifier: Notifier) -> None:
    await notifier.hear(published("1.2.5"), PINNED, published("1.3.0"), recorded(1, "done", auth="1.2.5"))
    await notifier.hear(recorded(2, "done", auth="1.3.0"))
    before = await notifier.sent()
    await Reminder(notifier.database, NotifierTransaction.reminders).start()
    again = await notifier.sent()
    assert len(again) == 2
    assert {(type(one), one.identity(), to_body(one)) for one in again} <= {
        (type(one), one.identity(), to_body(one)) for one in before
    }
