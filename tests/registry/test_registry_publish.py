"""Publishing: once, whole, checked outside the handler, and never lost."""

import asyncio

import pytest

from services.registry.store import RegistryTransaction
from shared.contracts.envelope import to_body
from shared.contracts.refusals import CommandRefused
from shared.contracts.releases import PublishRelease, ReleasePublished, ReleaseWithdrawn, WithdrawRelease
from shared.contracts.values import Actor
from shared.errors import Reject, Retry
from shared.messaging.reminder import Reminder
from tests.registry.registry_world import LENA, PINS, Registry, files, pack, project

NEXT = files("1.3.0", earlier=("1.2.4",))


async def test_a_package_that_is_in_order_is_published_and_announced(registry: Registry) -> None:
    event = await registry.publish()
    assert (event.change, event.revision) == ("first", 1)
    assert event.release.published_by == LENA.id
    assert [migration.name for migration in event.release.migrations] == ["20250101000000_init"]
    assert await registry.sent() == [event]


@pytest.mark.parametrize(
    ("version", "change"),
    [("1.2.5", "patch"), ("1.3.0", "minor"), ("2.0.0", "major"), ("1.3.0-rc.1", "minor")],
)
async def test_the_change_is_told_against_the_newest_before(
    registry: Registry, version: str, change: str
) -> None:
    await registry.publish()
    event = await registry.publish(files(version, earlier=("1.2.4",), notes="Everything is new."))
    assert (event.change, event.revision) == (change, 2)


async def test_an_older_line_may_still_be_patched(registry: Registry) -> None:
    await registry.publish()
    await registry.publish(NEXT)
    event = await registry.publish(files("1.2.5", earlier=("1.2.4",)))
    assert event.change == "patch"


async def test_the_same_bytes_again_are_welcome_and_nothing_is_sent(registry: Registry) -> None:
    event = await registry.publish()
    await registry.sent()
    assert await registry.publish() == event
    assert await registry.sent() == []
    assert await registry.count("package_checks") == 1


async def test_two_publishes_of_the_same_bytes_at_once_are_one_release(registry: Registry) -> None:
    digest = await registry.content.put(pack(files()))
    command = PublishRelease(actor=LENA, system="auth-system", version="1.2.4", package=digest)
    for key in ("first-of-two", "second-of-two"):
        assert await registry.ask(command, key) is None
    await registry.check_all()
    first, second = [
        await registry.gate.verdict(f"/http/{LENA.id}", key, 0) for key in ("first-of-two", "second-of-two")
    ]
    assert first is not None
    assert second is not None
    assert first.answer is not None
    assert (first.answer, first.refusals) == (second.answer, second.refusals)
    assert len(await registry.sent()) == 1


async def test_a_refused_package_is_answered_on_the_topic_with_every_reason(registry: Registry) -> None:
    await registry.publish()
    await registry.sent()
    digest = await registry.content.put(pack(files("1.2.5", manifest='breaking = ["It breaks."]')))
    command = PublishRelease(actor=LENA, system="auth-system", version="1.2.5", package=digest)
    await registry.hear(command, "a-publish-by-topic")
    await registry.check_all()
    (refused,) = await registry.sent()
    assert isinstance(refused, CommandRefused)
    assert (refused.command_id, refused.subject) == ("a-publish-by-topic", "auth-system")
    assert {refusal.field for refusal in refused.refusals} == {"system.toml: breaking", "CHANGELOG.md"}


async def test_a_systems_packages_are_checked_in_the_order_of_their_commands(registry: Registry) -> None:
    for version, earlier in (("1.2.4", ()), ("1.3.0", ("1.2.4",))):
        digest = await registry.content.put(pack(files(version, earlier=earlier)))
        command = PublishRelease(actor=LENA, system="auth-system", version=version, package=digest)
        await registry.ask(command, f"publish-of-{version}")
    async with registry.database.transaction() as tx, registry.database.transaction() as other:
        first = await tx.next_check()
        assert first is not None
        assert first.command.version == "1.2.4"
        assert await other.next_check() is None, "the later one must wait for the earlier"
    await asyncio.gather(registry.check_all(), registry.check_all())
    await registry.check_all()
    published = [
        event.release.version for event in await registry.sent() if isinstance(event, ReleasePublished)
    ]
    assert published == ["1.2.4", "1.3.0"]


class Broken(Exception):
    """A store that answers nonsense."""


async def test_a_crash_while_checking_loses_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = await registry.content.put(pack(files()))
    await registry.ask(PublishRelease(actor=LENA, system="auth-system", version="1.2.4", package=digest))

    async def interrupted(_: str) -> bytes:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(registry.gate.content, "get", interrupted)
        with pytest.raises(asyncio.CancelledError):
            await registry.gate.check_next()
    assert await registry.sent() == []
    assert await registry.gate.check_next()
    assert len(await registry.sent()) == 1


@pytest.mark.parametrize(("error", "given_up"), [(Retry("no answer"), False), (Broken("nonsense"), True)])
async def test_what_cannot_be_checked_is_tried_again_but_nonsense_not_for_ever(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, error: Exception, given_up: bool
) -> None:
    async def fails(_: str) -> bytes:
        raise error

    monkeypatch.setattr(registry.gate.content, "get", fails)
    command = PublishRelease(actor=LENA, system="auth-system", version="1.2.4", package="0" * 64)
    await registry.ask(command, "hard-to-check")
    for _ in range(5):
        assert await registry.gate.check_next()
        assert not await registry.gate.check_next(), "it must wait before it is tried again"
        await make_due(registry)
    verdict = await registry.gate.verdict(f"/http/{LENA.id}", "hard-to-check", 0)
    assert (verdict is not None) == given_up
    assert len(await registry.sent()) == (1 if given_up else 0)


async def make_due(registry: Registry) -> None:
    async with registry.database.transaction() as tx:
        connection = await tx.session.connection()
        await connection.exec_driver_sql("update package_checks set due_at = now() - interval '1 hour'")


async def test_withdrawn_once_it_stays_readable_and_a_second_time_changes_nothing(registry: Registry) -> None:
    published = await registry.publish()
    await registry.sent()
    command = WithdrawRelease(actor=LENA, system="auth-system", version="1.2.4", reason="It loses sessions.")
    answer = ReleaseWithdrawn.model_validate(await registry.ask(command))
    assert answer.release == published.release.model_copy(update={"withdrawn": "It loses sessions."})
    assert answer.revision == 2
    assert await registry.sent() == [answer]
    again = await registry.ask(command.model_copy(update={"reason": "Another reason."}))
    assert ReleaseWithdrawn.model_validate(again) == answer
    assert await registry.sent() == []


async def test_only_the_library_publishes_and_withdraws(registry: Registry) -> None:
    mira = Actor(id="mira@acme.example", role="maintainer", projects=("acme-portal",))
    await registry.publish()
    publish = PublishRelease(actor=mira, system="auth-system", version="1.3.0", package="0" * 64)
    withdraw = WithdrawRelease(actor=mira, system="auth-system", version="1.2.4", reason="I do not like it.")
    for command in (publish, withdraw):
        with pytest.raises(Reject) as refused:
            await registry.ask(command)
        assert refused.value.refusals[0].kind == "forbidden"
        assert "library" in refused.value.refusals[0].cure


async def test_a_broker_that_forgot_is_told_the_same_bytes_again(registry: Registry) -> None:
    await registry.publish()
    await registry.publish(NEXT)
    await registry.ask(WithdrawRelease(actor=LENA, system="auth-system", version="1.3.0", reason="Slow."))
    await registry.register(project(), PINS)
    before = await registry.sent()
    await Reminder(registry.database, RegistryTransaction.reminders).start()
    again = await registry.sent()
    assert [to_body(message) for message in again] == [to_body(message) for message in before]
    assert [(type(one), one.identity()) for one in again] == [(type(one), one.identity()) for one in before]
