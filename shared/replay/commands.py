"""People's commands as a rebuild reads them: only those whose senders are proven, as when they were handled.

Anybody who reaches the broker may have put a record on their topic; the service has refused or buried what
was not in order, and a rebuild passes it over and counts it.
"""

from collections.abc import AsyncIterator, Sequence

from shared.contracts.catalogue import MESSAGES
from shared.contracts.envelope import Unreadable, receive
from shared.contracts.header_names import without_tokens
from shared.contracts.topics import Topic
from shared.identity.proofs import SERVICES_SOURCE
from shared.messaging.people import People, Unproven, is_a_persons
from shared.messaging.record import Record
from shared.messaging.topic_reader import read_batches
from shared.replay.evidence import Evidence
from shared.replay.told import Told
from shared.settings import KafkaSettings


def are_peoples(topic: Topic) -> bool:
    """Whether people's commands come on this topic."""
    return any(message.sent_by == "person" and message.topic == topic for message in MESSAGES)


async def read_commands(
    settings: KafkaSettings, topics: Sequence[Topic], people: People, evidence: Evidence
) -> AsyncIterator[list[Told]]:
    """What is on these topics now, under the sources that its handler knows; a list may be empty.

    Raises KafkaError when the broker is not there or has no such topic.
    """
    if not topics:
        return
    async for records in read_batches(settings, topics):
        yield [told for told in (_told(record, people, evidence) for record in records) if told is not None]


def _told(record: Record, people: People, evidence: Evidence) -> Told | None:
    try:
        received = receive(record.headers, record.value)
        proven = people.prove(record, received)
    except (Unreadable, Unproven) as error:
        evidence.pass_over(record.topic, record.partition, record.offset, str(error))
        return None
    source = received.envelope.source
    if not is_a_persons(received.message) or source.startswith(SERVICES_SOURCE):
        reason = f"a {received.envelope.type} of {source} is not a person's"
        evidence.pass_over(record.topic, record.partition, record.offset, reason)
        return None
    own = [(name, value) for name, value in without_tokens(record.headers) if name != "ce_source"]
    named = dict(own) | {"ce_subject": proven.envelope.subject.encode()}
    headers = [*named.items(), ("ce_source", proven.envelope.source.encode())]
    return Told(record.topic, record.partition, record.offset, record.value, headers)
