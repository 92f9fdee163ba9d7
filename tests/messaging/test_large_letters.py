"""A dead letter is never more than its topic takes, and says nothing of itself but what we say."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from shared.errors import Reject
from shared.messaging.dead_letters import bury
from shared.messaging.topic_admin import DEAD_RECORD_BYTES_MAX
from shared.replay.dead_letters import DeadLetter, _letter, read_dead_letters, redrive
from shared.settings import KafkaSettings
from shared.storage.messages import read_headers
from tests.messaging.counting import EPOCH, Counting, Kept, command, envelope

Headers = list[tuple[str, bytes | None]]
LARGE = DEAD_RECORD_BYTES_MAX
RECORDS = {
    "a large value": Kept(b"key", b"x" * LARGE, [("a", b"1")], 1),
    "a large key": Kept(b"k" * LARGE, None, [("a", b"1")], 1),
    "a large header": Kept(b"key", b"x", [("a", b"1"), ("b", b"x" * LARGE)], 1),
    "names that are no text": Kept(b"key", b"x", [("\udcff" * 500_000, b"1"), ("a", b"1")], 1),
    "many names that are no text": Kept(b"key", b"x", [("a", b"1"), *[("\udcff" * 9, b"")] * 60_000], 1),
}


async def buried(counting: Counting, record: Kept) -> Kept:
    """What lies in the outbox as a letter then."""
    await bury(counting.database, [(record, "it is no message")], lambda _: None)
    [row] = await counting.rows("select key, body, headers::text from outbox")
    return Kept(row[0], row[1], read_headers(row[2]), 0)


def as_read(kept: Kept) -> DeadLetter:
    texts = {name: (value or b"").decode(errors="replace") for name, value in kept.headers}
    return _letter("registry", kept, texts, EPOCH)


@pytest.mark.parametrize("kind", RECORDS)
async def test_what_is_too_large_is_cut_and_says_so(counting: Counting, kind: str) -> None:
    record = RECORDS[kind]
    kept = await buried(counting, record)
    size = len(kept.key or b"") + len(kept.value or b"")
    size += sum(16 + len(name.encode()) + len(value or b"") for name, value in kept.headers)
    assert size < DEAD_RECORD_BYTES_MAX
    letter = as_read(kept)
    assert (letter.topic, letter.partition, letter.offset) == (record.topic, 0, 1)
    assert letter.reason == "it is no message"
    assert ("a", b"1") in letter.headers
    assert letter.original_bytes is not None
    assert json.loads(letter.original_bytes)["value"] == len(record.value or b"")
    assert letter.original_sha256 == hashlib.sha256(record.value or b"").hexdigest()
    with pytest.raises(Reject, match="too large to be kept whole"):
        await redrive(KafkaSettings(), [letter], by="sam")


async def test_a_letter_that_fits_is_kept_byte_for_byte(counting: Counting) -> None:
    record = Kept(b"key", b"x" * (1024 * 1024 - 100), [("a", b"1"), ("a", None)], 1)
    letter = as_read(await buried(counting, record))
    assert (letter.key, letter.body, list(letter.headers)) == (record.key, record.value, record.headers)
    assert letter.why_not_again is None


async def test_what_a_sender_says_of_letters_is_not_taken_for_ours(counting: Counting) -> None:
    forged: Headers = [
        ("dead_partition", b"many"),
        ("dead_bytes", b"1"),
        ("redriven_letter", b"0123456789ab"),
        ("redriven_by", b"sam"),
        ("a", b"1"),
    ]
    letter = as_read(await buried(counting, Kept(b"key", b"x", forged, 1)))
    assert (letter.partition, letter.why_not_again, letter.headers) == (0, None, (("a", b"1"),))


async def test_a_header_name_with_a_nul_is_kept_as_people_read_it(counting: Counting) -> None:
    kept = await buried(counting, Kept(b"key", b"x", [("a\0", b"1")], 1))
    assert kept.headers[0] == ("a\\x00", b"1")
    assert "dead_header_names" in dict(kept.headers)


@pytest.mark.parametrize("partition", [b"many", b"-1", b"", b"9" * 5000, "٣".encode()])
async def test_a_partition_that_is_no_number_breaks_no_list(
    monkeypatch: pytest.MonkeyPatch, partition: bytes
) -> None:
    async def records(*_: object) -> object:
        about: Headers = [("dead_topic", b"t"), ("dead_partition", partition), ("redriven_letter", b"x")]
        yield Kept(b"key", b"x", about, 1)

    monkeypatch.setattr("shared.replay.dead_letters.read_topic", records)
    [letter] = await read_dead_letters(KafkaSettings(), "registry")
    with pytest.raises(Reject, match="which partition"):
        await redrive(KafkaSettings(), [replace(letter, topic="t")], by="sam")


async def test_what_would_be_told_by_too_large_a_message_is_refused(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.database.BODY_BYTES_MAX", 10)
    message = command("1.0.0")
    with pytest.raises(Reject) as refused:
        await counting.inbox.perform(envelope(message), message, "d" * 64)
    [refusal] = refused.value.refusals
    assert (refusal.kind, refusal.field) == ("invalid", "body")
    assert "at most 10 can be sent" in refusal.reason
    assert await counting.counted() == []
