"""Fixtures that several attacks need."""

from tests.journeys.conftest import embedded
from tests.registry.conftest import registry, registry_url
from tests.security.desks import both, planner
from tests.security.runners import bubblewrap, checkout, container, isolating, isolation, machine
from tests.support.secured_broker import secured_kafka

__all__ = [
    "both",
    "bubblewrap",
    "checkout",
    "container",
    "embedded",
    "isolating",
    "isolation",
    "machine",
    "planner",
    "registry",
    "registry_url",
    "secured_kafka",
]
