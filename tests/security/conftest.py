"""Fixtures that several attacks need."""

from tests.registry.conftest import registry, registry_url
from tests.security.desks import both, planner

__all__ = ["both", "planner", "registry", "registry_url"]
