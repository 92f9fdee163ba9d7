"""Vouchers: a service remembers who sent what it put aside, so that it can be sent again without the token.

A dead letter lies where people look, so it never has a token. The service that buried a person's command
keeps, in its own inbox and with the same commit, that it had verified its sender. When the letter is sent
again, that stands for the token; of anything else than these very bytes it says nothing.
"""

import hashlib
from collections.abc import Iterable, Sequence

from shared.contracts.envelope import Received
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
    rows = {}
    for record, actor in senders:
        texts = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        digest = hashlib.sha256(record.value or b"").hexdigest()
        about = (texts.get("ce_source", ""), texts.get("ce_id", ""), texts.get("ce_type", ""), digest)
        rows[_name(actor.id, *about)] = (digest, actor.model_dump_json())
    if rows:
        digests, actors = zip(*rows.values(), strict=True)
        await tx.fetch(_KEEP, SOURCE, list(rows), list(digests), list(actors))


async def vouched(claimed: Sequence[Received], tx: Transaction) -> dict[int, Actor]:
    """Of these, by their places in the list, the senders whom this service had verified before."""
    names = [_name_of(received) for received in claimed]
    found = dict(await tx.fetch(_FIND, SOURCE, names)) if names else {}
    return {at: Actor.model_validate_json(found[name]) for at, name in enumerate(names) if name in found}


def _name_of(received: Received) -> str:
    command, envelope = received.message, received.envelope
    assert isinstance(command, Command)
    return _name(command.actor.id, envelope.source, envelope.id, envelope.type, received.digest)


def _name(*parts: str) -> str:
    # No header that is read has a NUL.
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()
