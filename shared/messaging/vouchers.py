"""Vouchers: a service remembers who sent what it put aside, so that it can be sent again without the token.

A dead letter lies where people look, so it never has a token. The service that buried a person's command
keeps, in its own inbox and with the same commit, that it had verified its sender. When the letter is sent
again, that stands for the token. It is bound to the topic, the key, every `ce_` header in its place and the
body: of a letter in which one of them was altered, added or left out it says nothing.
"""

import hashlib
from collections.abc import Iterable, Sequence

from shared.contracts.envelope import Received
from shared.contracts.header_names import to_bytes, without_tokens
from shared.contracts.values import Actor, Command
from shared.messaging.record import Record
from shared.storage.database import Transaction

SOURCE = "/vouchers"
"""Under which they stand in the inbox; a message's source is never this, for its reader has renamed it."""

_KEEP = (
    "insert into inbox (source, id, digest, verdict)"
    " select $1, id, digest, verdict::json from unnest($2::text[], $3::text[], $4::text[])"
    " as new (id, digest, verdict) on conflict do nothing"
)
_FIND = "select id, verdict::text from inbox where source = $1 and id = any($2::text[])"


async def vouch(senders: Iterable[tuple[Record, Actor]], tx: Transaction) -> None:
    """Remember that these actors have sent these records."""
    rows = {_name(record, actor.id): (_body_digest(record), actor) for record, actor in senders}
    if rows:
        digests = [digest for digest, _ in rows.values()]
        actors = [actor.model_dump_json() for _, actor in rows.values()]
        await tx.fetch(_KEEP, SOURCE, list(rows), digests, actors)


async def vouched(claimed: Sequence[tuple[Record, Received]], tx: Transaction) -> dict[int, Actor]:
    """Of these, by their places in the list, the senders whom this service had verified before."""
    names = [_name(record, _claimed(received)) for record, received in claimed]
    found = dict(await tx.fetch(_FIND, SOURCE, names)) if names else {}
    return {at: Actor.model_validate_json(found[name]) for at, name in enumerate(names) if name in found}


def _claimed(received: Received) -> str:
    assert isinstance(received.message, Command)
    return received.message.actor.id


def _name(record: Record, actor: str) -> str:
    """The digest of the whole record but its place, its token, and headers that nobody reads.

    Each part stands behind its length: no two records have the same one.
    """
    kept = [(name, value) for name, value in without_tokens(record.headers) if name.startswith("ce_")]
    parts: list[bytes | None] = [actor.encode(errors="replace"), record.topic.encode(), record.key]
    for name, value in kept:
        parts += [to_bytes(name), value]
    digest = hashlib.sha256()
    for part in (*parts, record.value):
        digest.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    return digest.hexdigest()


def _body_digest(record: Record) -> str:
    return hashlib.sha256(record.value or b"").hexdigest()
