"""From a record to a message that may be handled, or to the reason why it may not be."""

from collections.abc import Sequence
from dataclasses import replace

from shared.contracts.catalogue import BY_TYPE
from shared.contracts.envelope import Received, Unreadable, receive
from shared.contracts.topics import Topic, is_topic_of
from shared.contracts.values import Command
from shared.identity.proofs import Verifier
from shared.messaging.compressed_batches import UNREAD
from shared.messaging.inbox import Handlers
from shared.messaging.people import People, Unproven
from shared.messaging.portions import Pauses
from shared.messaging.record import Record, place_text

Readable = tuple[Record, Received]
Read = tuple[Record, Received | Unreadable | Unproven]


class RecordReader:
    """Reads one service's records. Nothing of a record is remembered before its proof has been verified."""

    def __init__(self, service: str, handlers: Handlers, proofs: Verifier, people: People) -> None:
        self._service = service
        self._handlers = handlers
        self._proofs = proofs
        self._people = people

    async def read_all(self, records: Sequence[Record]) -> list[Read]:
        """What they are, in their order; the event loop is not kept for long."""
        await self._people.look_for_keys(records)
        # A proof takes a tenth of a millisecond, and a batch has thousands.
        found: list[Read] = []
        pauses = Pauses()
        for record in records:
            found.append(self._read(record))
            await pauses.look()
        return found

    def _read(self, record: Record) -> Read:
        try:
            return record, self._receive(record)
        except (Unreadable, Unproven) as error:
            return record, error

    def _receive(self, record: Record) -> Received:
        for name, value in record.headers:
            if name == UNREAD:
                raise Unreadable((value or b"").decode(errors="replace"))
        _require_own_topic(record)
        received = receive(record.headers, record.value)
        if type(received.message) in self._handlers:
            proven = self._people.prove(record, self._proofs.check(received, record.topic))
            is_command = isinstance(proven.message, Command)
            return replace(proven, place=place_text(record)) if is_command else proven
        # An event that we do not handle is for others; a command that nobody handles is lost.
        if isinstance(received.message, Command):
            raise Unreadable(f"{received.envelope.type} is no command of {self._service}")
        return received


def _require_own_topic(record: Record) -> None:
    """Raise `Unreadable` for a message on another topic than its own: neither its body nor a proof is read.

    Whoever may write to one topic of a service would else send it what belongs on another.
    """
    # Of two headers of a name the last one counts, as where the message is read.
    kinds = [value for name, value in record.headers if name == "ce_type" and value]
    model = BY_TYPE.get(kinds[-1].decode(errors="replace")) if kinds else None
    own: Topic | None = getattr(model, "topic", None)
    if model is not None and own is not None and not is_topic_of(own, record.topic):
        raise Unreadable(f"{model.type_name()} belongs on {own.name}, and came on {record.topic}")
