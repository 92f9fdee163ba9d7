"""Ids, repeats and dead letters of people's commands: nobody uses up or answers those of another."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shared.contracts.envelope import source_of, to_body
from shared.contracts.freezes import FreezeDeploys
from shared.contracts.values import Actor
from shared.http.door import perform
from shared.storage.messages import read_headers
from tests.messaging.counting import Kept
from tests.security.desks import (
    COMMANDS,
    FORGERIES,
    MAL,
    SAM,
    SOURCE,
    Desk,
    Headers,
    ended,
    is_unproven,
    numbers,
    record,
)
from tests.support.keys import token

# --- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_command_does_not_use_up_the_id_of_the_rightful_one(
    planner: Desk, forgery: str
) -> None:
    freeze = FreezeDeploys(actor=SAM, reason="the database moves")
    await planner.take(record(freeze, FORGERIES[forgery](SAM), name="order-7"))
    [forged] = await planner.sent()
    await planner.take(record(freeze, token(SAM), name="order-7"))
    assert [one.envelope.type for one in await planner.sent()][:1] == ["upgrades.DeploysFrozen.v1"]
    # What is answered to the forger has another id than any answer to the rightful one, and a rebuild
    # that reads it must not believe that order-7 was refused.
    assert forged.envelope.causation_id == "order-7"
    assert forged.envelope.causation_digest is None


async def test_a_persons_ids_are_not_used_up_by_another_person(planner: Desk) -> None:
    """Both send what the broker takes: the same source, the same id, each with a token of their own."""
    thief = Actor(id="mal@globex.example", role="sre")
    await planner.take(record(FreezeDeploys(actor=thief, reason="first"), token(thief), name="order-7"))
    await planner.take(record(FreezeDeploys(actor=SAM, reason="second"), token(SAM), name="order-7"))
    assert {source for source, _ in await planner.ids()} == {source_of(thief, SOURCE), source_of(SAM, SOURCE)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a/b", "c"), ("a", "b/c")),
        (("a%2Fb", "c"), ("a/b", "c")),
        (("a", "/b"), ("a/", "b")),
    ],
)
def test_no_two_people_share_a_source(one: tuple[str, str], other: tuple[str, str]) -> None:
    first, second = (source_of(Actor(id=name, role="sre"), source) for name, source in (one, other))
    assert first != second


async def test_an_idempotency_key_of_http_is_not_used_up_by_a_topic(planner: Desk) -> None:
    """Mal sends as `/http/sam` with the key that Sam is about to use: Sam's own request must be done."""
    forged = COMMANDS["RequestPlan"].with_(actor=MAL)
    for source in (f"/http/{SAM.id}", f"/topic/{SAM.id}/x", "/vouchers", "upgrades.run.commands.v1/0"):
        await planner.take(record(forged, token(MAL), name="the-key-of-sam", source=source))
    await planner.sent()
    answer = await perform(planner.inbox, FreezeDeploys(actor=SAM, reason="it is mine"), "the-key-of-sam")
    assert "it is mine" in json.dumps(answer)
    assert ("/http/sam@innopo.example", "the-key-of-sam") in await planner.ids()


# --- repeats -------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["the same token", "no token", "a token that has ended"])
async def test_a_repeat_is_answered_as_the_first_time(planner: Desk, again: str) -> None:
    """It was done: to say afterwards that it was refused would be a lie, and to do it twice worse."""
    freeze = FreezeDeploys(actor=SAM, reason="the database moves")
    await planner.take(record(freeze, token(SAM), name="order-7"))
    assert len(await planner.sent()) == 2  # the event, and what the executors are told
    before = await planner.state()
    tokens = {"the same token": token(SAM), "no token": None, "a token that has ended": ended(SAM)}
    await planner.take(record(freeze, tokens[again], name="order-7"))
    assert await planner.sent() == []
    assert await planner.state() == before


async def test_a_refusal_is_repeated_in_the_same_words_and_under_the_same_id(planner: Desk) -> None:
    foreign = COMMANDS["RequestPlan"].with_(actor=MAL)
    answers = []
    for given in (token(MAL), token(MAL), None):
        await planner.take(record(foreign, given, name="order-7"))
        [answer] = await planner.sent()
        answers.append((answer.envelope.id, answer.message))
    assert answers[0] == answers[1] == answers[2]


async def test_other_bytes_under_a_handled_id_are_not_a_repeat(planner: Desk) -> None:
    await planner.take(record(FreezeDeploys(actor=SAM, reason="mine"), token(SAM), name="order-7"))
    await planner.sent()
    await planner.take(record(FreezeDeploys(actor=SAM, reason="forged"), None, name="order-7"))
    [refused] = await planner.refusals()
    assert is_unproven(refused)


# --- dead letters --------------------------------------------------------------------------------


async def _buried(desk: Desk, sent: Kept) -> Kept:
    """The record as somebody sends it again who has found it among the dead letters."""
    rows = await desk.rows("select body, headers::text from outbox where topic like '%dead%'")
    [(body, headers)] = rows
    async with desk.database.transaction() as tx:
        await tx.begin()
        await tx.fetch("delete from outbox")
    kept: Headers = [(name, value) for name, value in read_headers(headers) if not name.startswith("dead_")]
    assert not any(name == "ce_authorization" for name, _ in kept)
    return Kept(sent.key, body, kept, next(numbers), sent.topic)


@pytest.fixture
async def broken(planner: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Its handler of freezes has a bug until `monkeypatch` is undone."""

    async def bug(command: FreezeDeploys, tx: Any) -> None:
        raise RuntimeError("a bug that will be mended")

    handlers: dict[Any, Any] = {**planner.inbox.handlers, FreezeDeploys: bug}
    monkeypatch.setattr(planner.inbox, "handlers", handlers)
    return planner


async def test_a_dead_letter_is_sent_again_without_its_token(
    broken: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze = FreezeDeploys(actor=SAM, reason="the database moves")
    sent = record(freeze, token(SAM), name="order-7")
    await broken.take(sent)
    letter = await _buried(broken, sent)
    await broken.take(letter)  # redriven before the cure: it is put aside once more, and not lost
    letter = await _buried(broken, sent)
    monkeypatch.undo()
    await broken.take(letter)
    assert [one.envelope.type for one in await broken.sent()][:1] == ["upgrades.DeploysFrozen.v1"]
    assert (source_of(SAM, SOURCE), "order-7") in await broken.ids()


def _altered(letter: Kept) -> dict[str, Kept]:
    """The letter with one thing in it that is not as it was when its sender was proven."""
    named = dict(letter.headers)
    plain = [(name, value) for name, value in letter.headers]

    def with_headers(**changed: bytes) -> Kept:
        return replace(letter, headers=[*({**named, **changed}).items()])

    other_body = to_body(FreezeDeploys(actor=SAM, reason="forged"))
    return {
        "another body": replace(letter, value=other_body),
        "the same JSON in other bytes": replace(letter, value=(letter.value or b"").replace(b":", b": ", 1)),
        "another id": with_headers(ce_id=b"8"),
        "another source": with_headers(ce_source=b"/x"),
        "another subject": with_headers(ce_subject=b"acme-portal"),
        "another time": with_headers(ce_time=b"2031-01-01T00:00:00+00:00"),
        "the Run of another": with_headers(ce_correlationid=b"run-1b9d6bcd4f21"),
        "a cause": with_headers(ce_causationid=b"x", ce_causationsource=b"/upgrades/registry"),
        "a trace": with_headers(ce_traceparent=b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"),
        "a header that is not read yet": with_headers(ce_tenant=b"globex"),
        "a header less": replace(letter, headers=[pair for pair in plain if pair[0] != "ce_subject"]),
        "a header twice": replace(letter, headers=[("ce_subject", b"x"), *plain]),
        "another key": replace(letter, key=b"globex-portal"),
        "no key": replace(letter, key=None),
    }


async def test_what_was_put_aside_vouches_for_nothing_else(
    broken: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sends a letter again with another subject, Run or key would act in the name of its sender."""
    freeze = FreezeDeploys(actor=SAM, reason="the database moves")
    sent = record(freeze, token(SAM), name="order-7")
    await broken.take(sent)
    letter = await _buried(broken, sent)
    monkeypatch.undo()
    for what, changed in _altered(letter).items():
        await broken.take(replace(changed, offset=next(numbers)))
        [refused] = await broken.refusals()
        assert is_unproven(refused), what
    # Elsewhere it is not even read.
    elsewhere = replace(letter, topic="upgrades.project.commands.v1", offset=next(numbers))
    await broken.take(elsewhere)
    assert (await _buried(broken, elsewhere)).value == letter.value
    # Headers that no service reads may come and go, as tracing tools on the way do it.
    await broken.take(replace(letter, headers=[*letter.headers, ("b3", b"1")], offset=next(numbers)))
    assert [one.envelope.type for one in await broken.sent()][:1] == ["upgrades.DeploysFrozen.v1"]


@pytest.mark.parametrize("given", [None, "nonsense", ended(SAM), token(MAL)])
async def test_what_was_put_aside_without_a_valid_token_is_not_vouched_for(
    planner: Desk, given: str | None
) -> None:
    """Its body could not be read, so it lies among the dead letters; its sender was never proven."""
    freeze = FreezeDeploys(actor=SAM, reason="the database moves")
    good = record(freeze, given, name="order-7")
    assert good.value is not None
    unreadable = Kept(good.key, good.value[:-1], good.headers, good.offset, good.topic)
    await planner.take(unreadable)
    letter = await _buried(planner, unreadable)
    await planner.take(Kept(letter.key, good.value, letter.headers, next(numbers), letter.topic))
    [refused] = await planner.refusals()
    assert is_unproven(refused)
