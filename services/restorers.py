"""The services whose databases can be rebuilt from their own events."""

from services.notifier.rebuild import NotifierRestorer
from services.planner.rebuild import PlannerRestorer
from services.registry.rebuild import RegistryRestorer
from shared.clients.content import ContentStore
from shared.replay.restorer import Restorer

REBUILDABLE = ("registry", "notifier", "planner")
"""Executor and validator start empty behind a new fence instead, and look at the world."""


def restorer(service: str, content_url: str) -> Restorer:
    """A new one for one rebuild; only the registry reads the content store."""
    match service:
        case "registry":
            return RegistryRestorer(ContentStore(content_url))
        case "notifier":
            return NotifierRestorer()
        case "planner":
            return PlannerRestorer()
        case _:
            raise ValueError(f"{service!r} is none of: {', '.join(REBUILDABLE)}")
