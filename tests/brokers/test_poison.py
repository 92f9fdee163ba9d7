"""One poison costs one record: its neighbours are handled, and it lies among the dead letters as it was."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shared.contracts.envelope import to_body
from shared.contracts.header_names import without_tokens
from shared.contracts.refusals import CommandRefused
from shared.contracts.releases import PublishRelease
from shared.messaging.record import Record
from tests.brokers.place import Place, eventually, header, versions
from tests.brokers.poisons import poisons
from tests.brokers.tiny_service import LIBRARY, REFUSED, publish, wire


async def test_a_poison_of_every_kind_costs_one_record_each(place: Place) -> None:
    kinds = poisons(place.name)
    mixed = place.commands([0])
    for number, poison in enumerate(kinds.values(), start=1):
        mixed += [poison.record, *place.commands([number])]
    async with place.service().running() as service:
        await place.send(mixed)
        dead = await eventually(place.dead, lambda dead: len(dead) >= len(kinds))
        await eventually(lambda: service.counted(place.name), lambda seen: len(seen) > len(kinds))
        assert await service.counted(place.name) == versions(range(len(kinds) + 1))
    assert len(dead) == len(kinds)
    for kind, poison in kinds.items():
        key, body, headers = poison.record
        found = [
            letter
            for letter in dead
            if (letter.key, letter.value, list(letter.headers)[:-4]) == (key, body, without_tokens(headers))
        ]
        assert len(found) == 1, kind
        assert poison.because in header(found[0], "dead_reason"), kind
        assert header(found[0], "dead_topic") == "upgrades.release.commands.v1"
        assert int(header(found[0], "dead_offset")) >= 0
        assert int(header(found[0], "dead_partition")) in range(4)


async def test_a_poison_that_is_read_again_is_put_away_once(place: Place) -> None:
    bad = poisons(place.name)["bad JSON"].record
    async with place.service().running() as service:
        await place.send([bad])
        [letter] = await eventually(place.dead, lambda dead: len(dead) == 1)
    again = place.service()
    original = Original(letter)
    await again.consumer.take([original, original])
    assert await again.unsent() == 0
    await again.database.close()
    await service.database.close()


class Original:
    """The record that became this dead letter, as the broker would give it again."""

    def __init__(self, letter: Record) -> None:
        self.topic = header(letter, "dead_topic")
        self.partition = int(header(letter, "dead_partition"))
        self.offset = int(header(letter, "dead_offset"))
        self.key, self.value = letter.key, letter.value
        self.timestamp, self.timestamp_type = letter.timestamp, 0
        self.headers: Sequence[tuple[str, bytes | None]] = tuple(letter.headers)[:-4]


@pytest.mark.parametrize("header_name", ["reply_to", "correlation_id"])
async def test_a_reply_to_header_sends_nothing_to_where_its_sender_likes(
    place: Place, header_name: str
) -> None:
    key, body, headers = place.commands([1])[0]
    elsewhere = f"{place.name}-elsewhere"
    async with place.service().running():
        await place.send([(key, body, [*headers, (header_name, elsewhere.encode())])])
        await eventually(place.events, lambda events: len(events) == 1)
        assert await place.events(elsewhere) == []
        assert await place.dead() == []


async def test_without_a_content_type_the_body_is_still_what_it_is(place: Place) -> None:
    key, body, headers = place.commands([1])[0]
    async with place.service().running() as service:
        await place.send([(key, body, [pair for pair in headers if pair[0] != "content-type"])])
        await eventually(lambda: service.counted(place.name), lambda seen: seen == versions([1]))


async def test_the_same_id_with_another_body_is_a_dead_letter(place: Place) -> None:
    key, body, headers = place.commands([1])[0]
    other = to_body(publish(place.name, 2))
    async with place.service().running() as service:
        await place.send([(key, body, headers), (key, other, headers), *place.commands([3])])
        [letter] = await eventually(place.dead, lambda dead: len(dead) == 1)
        await eventually(lambda: service.counted(place.name), lambda seen: len(seen) == 2)
        assert await service.counted(place.name) == versions([1, 3])
        assert letter.value == other
        assert "for two messages" in header(letter, "dead_reason")


async def test_a_refused_command_is_answered_each_time_with_the_same_id(place: Place) -> None:
    refused = PublishRelease(actor=LIBRARY, system=place.name, version=REFUSED, package="0" * 64)
    record = wire(refused, f"{place.name}/refused")
    async with place.service().running() as service:
        await place.send([*place.commands([1]), record, *place.commands([2])])
        await eventually(place.events, lambda events: len(events) == 3)
        await place.send([record])
        events = await eventually(place.events, lambda events: len(events) == 4)
        answers = [event for event in events if header(event, "ce_type") == "upgrades.CommandRefused.v1"]
        assert len(answers) == 2
        assert header(answers[0], "ce_id") == header(answers[1], "ce_id")
        assert answers[0].value == answers[1].value
        assert header(answers[0], "ce_causationid") == dict(record[2])["ce_id"].decode()
        refusal = CommandRefused.model_validate_json(answers[0].value or b"")
        assert refusal.refusals[0].cure == "take another"
        assert await service.counted(place.name) == versions([1, 2])
        assert await place.dead() == []
