"""People on topics: a command's actor is whoever its token names, or else nobody has sent it.

The token is verified for the moment at which the broker has taken the record: `ce_time` is the sender's word,
and a record that is read again much later was sent with a token that had not ended.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeGuard

from shared.contracts.envelope import (
    ALL_HEADERS_MAX,
    HEADER_BYTES_MAX,
    HTTP_SOURCE,
    PEOPLES_SOURCE,
    TOKEN_BYTES_MAX,
    Received,
    Unreadable,
    source_of,
)
from shared.contracts.header_names import TOKEN
from shared.contracts.values import Actor, Command, Message
from shared.errors import Reject, forbidden
from shared.identity.tokens import InvalidToken, TokenVerifier
from shared.messaging.portions import Pauses
from shared.messaging.record import Record
from shared.messaging.vouchers import SOURCE as VOUCHERS

_RESERVED = (HTTP_SOURCE, PEOPLES_SOURCE, VOUCHERS, "upgrades.")
"""How sources in an inbox begin that no message from a topic has: people's, vouchers, places of records."""
_BY_THE_BROKER = 1
"""Of a record's `timestamp_type`: the topic has LogAppendTime. Else the time is the sender's word, too."""
_SEND_ANEW = "send it with the actor's own token in ce_authorization; docs/contracts/commands.md says how"


class Unproven(Exception):
    """A person's command without proof of its actor: `received` is what it claims to be."""

    def __init__(self, received: Received, rejection: Reject) -> None:
        super().__init__(str(rejection))
        self.received = received
        self.refusals = rejection.refusals


def is_a_persons(message: Message) -> TypeGuard[Command]:
    """Whether this message needs a person's token when it comes over a topic."""
    return message.sent_by == "person"


class People:
    """Proves the senders of people's commands. `broker_dates`: the broker's own dates can be believed."""

    def __init__(
        self, tokens: TokenVerifier, *, broker_dates: bool = True, service: str | None = None
    ) -> None:
        self._tokens = tokens
        self._service = service
        self._broker_dates = broker_dates

    async def look_for_keys(self, records: Sequence[Record]) -> None:
        """Have keys read that these records name and nobody knows yet, before they are proven."""
        pauses = Pauses()
        for record in records:
            await pauses.look()
            for name, value in record.headers[:ALL_HEADERS_MAX]:
                if name == TOKEN and value:
                    await self._tokens.look_for_key(value[: TOKEN_BYTES_MAX + 1].decode(errors="replace"))

    def prove(self, record: Record, received: Received) -> Received:
        """The message with its proven actor, under a source that is that actor's alone, without the token.

        What is not a person's command is returned as it came. Raises `Unproven`, and `Unreadable` for a
        source that nobody on a topic may have.
        """
        if not is_a_persons(received.message):
            if received.envelope.source.startswith(_RESERVED):
                raise Unreadable(
                    f"ce_source is {received.envelope.source!a}, which no message of its kind may have"
                )
            return received if received.token is None else replace(received, token=None)
        if not _claimed(received).id.isprintable():
            raise Unreadable("actor.id: no token names somebody in characters that cannot be printed")
        if not received.token:
            raise Unproven(
                replace(received, token=None),
                forbidden(
                    f"nobody proves that {_claimed(received).id} sent this", field=TOKEN, cure=_SEND_ANEW
                ),
            )
        try:
            actor = self._verified(received.token, record)
        except InvalidToken as error:
            raise Unproven(
                replace(received, token=None),
                forbidden(f"invalid token: {error}", field=TOKEN, cure=_SEND_ANEW),
            ) from error
        return as_sent_by(actor, received)

    def sender(self, record: Record) -> Actor | None:
        """The actor whom the token of any record proves, if it has a valid one."""
        for name, value in record.headers:
            if name == TOKEN and value:
                try:
                    return self._verified(value.decode("ascii"), record)
                except (InvalidToken, UnicodeDecodeError):
                    return None
        return None

    def _verified(self, token: str, record: Record) -> Actor:
        return self._tokens.verify(token, at=self._taken_at(record), service=self._service)

    def _taken_at(self, record: Record) -> datetime | None:
        if not self._broker_dates or record.timestamp_type != _BY_THE_BROKER:
            return None
        return datetime.fromtimestamp(record.timestamp / 1000, UTC)


def as_sent_by(actor: Actor, received: Received) -> Received:
    """The command as this actor's. Raises `Unproven` when it claims to be another's."""
    claimed = _claimed(received)
    bare = replace(received, token=None)
    if (claimed.id, claimed.role) != (actor.id, actor.role):
        raise Unproven(
            bare,
            forbidden(
                f"the token is that of {actor.id} ({actor.role}),"
                f" and the command says {claimed.id} ({claimed.role})",
                value=claimed.id,
                cure="send each command with the token of its own actor",
            ),
        )
    if not set(claimed.projects) <= set(actor.projects):
        raise Unproven(
            bare,
            forbidden(
                f"the token of {actor.id} does not name every Project that the command's actor names",
                field="actor.projects",
                cure="name the Projects of the token, or get a token for the others",
            ),
        )
    source = source_of(actor, received.envelope.source)
    if len(source.encode()) > HEADER_BYTES_MAX:
        raise Unreadable(f"ce_source and the actor's id together are longer than {HEADER_BYTES_MAX} bytes")
    return replace(
        bare,
        message=received.message.with_(actor=actor),
        envelope=replace(received.envelope, source=source),
    )


def _claimed(received: Received) -> Actor:
    assert isinstance(received.message, Command)
    return received.message.actor
