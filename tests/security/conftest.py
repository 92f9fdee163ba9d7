"""Fixtures of other folders that attacks need."""

from tests.registry.conftest import registry, registry_url

__all__ = ["registry", "registry_url"]
