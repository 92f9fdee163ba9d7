"""Every consumer group of the five services."""

from services.participants import participants
from shared.contracts.topics import SERVICES, Topic


def groups() -> list[tuple[str, Topic]]:
    """Service and topic of each, in an order that is always the same."""
    return [
        (participant.name, topic)
        for participant in participants()
        if participant.name in SERVICES
        # A refusal is read on whatever topic it answers on; somebody's events are always there too.
        for topic in sorted(
            {message.topic for message in participant.reads if hasattr(message, "topic")},
            key=lambda topic: topic.name,
        )
    ]
