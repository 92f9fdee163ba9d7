"""Fixtures that several attacks need."""

from tests.journeys.conftest import embedded
from tests.registry.conftest import registry, registry_url
from tests.security.desks import both, planner
from tests.support.secured_broker import secured_kafka

__all__ = ["both", "embedded", "planner", "registry", "registry_url", "secured_kafka"]
