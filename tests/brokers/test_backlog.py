"""What waits to be read, and dead letters that are sent again once their cause is cured."""

from __future__ import annotations

from datetime import timedelta

from shared.clock import utc_now
from shared.contracts.header_names import without_tokens
from shared.contracts.releases import PublishRelease
from shared.contracts.topics import RELEASE_COMMANDS
from shared.replay.dead_letters import choose, read_dead_letters, redrive
from shared.replay.lag import lags, places
from tests.brokers.place import Place, eventually, versions


async def _behind(place: Place) -> int:
    found = await lags(place.settings, [(place.name, RELEASE_COMMANDS)], utc_now())
    assert {lag.partition for lag in found} == {0, 1, 2, 3}
    assert all((lag.behind > 0) == (lag.oldest_age_s is not None) for lag in found)
    return sum(lag.behind for lag in found)


async def test_what_nobody_has_read_yet_is_counted_and_no_group_is_disturbed(place: Place) -> None:
    assert await _behind(place) == 0
    await place.send(place.commands(range(7)))
    await place.send(place.commands(range(5), system=f"{place.name}-other"))
    assert await _behind(place) == 12
    async with place.service().running() as service:
        await eventually(lambda: service.counted(place.name), lambda seen: len(seen) == 7)
        await eventually(lambda: _behind(place), lambda behind: behind == 0)
    where = await places(place.settings, RELEASE_COMMANDS.group(place.name), RELEASE_COMMANDS.name, 4)
    assert sum(where.values()) == await place.committed()


async def test_a_letter_is_sent_again_as_it_was_and_that_is_remembered(place: Place) -> None:
    async def bug(command: PublishRelease) -> None:
        raise RuntimeError("a bug that will be mended")

    async with place.service(bug).running():
        await place.send(place.commands([1, 2]))
        await eventually(place.dead, lambda dead: len(dead) == 2)
    letters = await read_dead_letters(place.settings, place.name)
    assert {letter.type for letter in letters} == {"upgrades.PublishRelease.v1"}
    assert all("a bug that will be mended" in letter.reason for letter in letters)
    (key, body, headers), _ = place.commands([1, 2])
    assert (letters[0].key, letters[0].body, letters[0].headers) == (
        key,
        body,
        tuple(without_tokens(headers)),
    )

    async with place.service().running() as mended:
        await redrive(place.settings, letters[:1], by="sam", rate_per_s=100)
        await eventually(lambda: mended.counted(place.name), lambda seen: seen == versions([1]))
        seen = await read_dead_letters(place.settings, place.name)
        assert [letter.redriven_by for letter in seen] == ["sam", None]
        assert [letter.id for letter in choose(seen)] == [letters[1].id]
        # Sent once more it is a repeat, which the inbox knows.
        await redrive(place.settings, seen, by="sam")
        await eventually(lambda: mended.counted(place.name), lambda done: done == versions([1, 2]))
        await eventually(lambda: _behind(place), lambda behind: behind == 0)
        assert await mended.counted(place.name) == versions([1, 2])
        assert choose(await read_dead_letters(place.settings, place.name)) == []


async def test_letters_are_chosen_by_reason_type_and_time(place: Place) -> None:
    key, body, headers = place.commands([1])[0]
    unknown = [(name, b"upgrades.Other.v1" if name == "ce_type" else value) for name, value in headers]
    async with place.service().running():
        await place.send([(key, body, unknown), (key, b"{", headers)])
        await eventually(place.dead, lambda dead: len(dead) == 2)
    letters = await read_dead_letters(place.settings, place.name)
    assert [one.type for one in choose(letters, type_name="other")] == ["upgrades.Other.v1"]
    assert [one.body for one in choose(letters, reason="invalid json")] == [b"{"]
    assert len(choose(letters, since=utc_now() - timedelta(hours=1))) == 2
    assert choose(letters, since=utc_now() + timedelta(hours=1)) == []
