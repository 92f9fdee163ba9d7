"""The heads of the audit logs as they were published."""

from pydantic import ValidationError

from shared.contracts.audit import AuditHead, AuditRecorded
from shared.contracts.topics import AUDIT_EVENTS
from shared.messaging.topic_reader import read_topic
from shared.settings import KafkaSettings


async def published_heads(settings: KafkaSettings) -> list[AuditHead]:
    """Every head on the topic now; whether it is signed, its reader asks. Raises KafkaError."""
    found: list[AuditHead] = []
    async for record in read_topic(settings, AUDIT_EVENTS):
        try:
            found.append(AuditRecorded.model_validate_json(record.value or b"").head)
        except ValidationError:
            continue  # somebody else's record: it is no head of anybody
    return found
