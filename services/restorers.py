"""The services whose databases can be rebuilt from their own events."""

from services.notifier.rebuild import NotifierRestorer
from services.planner.rebuild import PlannerRestorer
from services.registry.rebuild import RegistryRestorer
from shared.clients.content import ContentStore
from shared.replay.restorer import AuditLogRestorer, Restorer

REBUILDABLE = ("registry", "notifier", "planner")
"""Executor and validator start empty behind a new fence instead, and look at the world."""
AUDIT_LOG_ALONE = ("executor", "validator")
"""Those keep nothing but their audit log."""


def restorer(service: str, content_url: str) -> Restorer:
    """A new one for one rebuild; only the registry reads the content store."""
    match service:
        case "registry":
            return RegistryRestorer(ContentStore(content_url))
        case "notifier":
            return NotifierRestorer()
        case "planner":
            return PlannerRestorer()
        case "executor" | "validator":
            return AuditLogRestorer(service)
        case _:
            raise ValueError(f"{service!r} is none of: {', '.join((*REBUILDABLE, *AUDIT_LOG_ALONE))}")
