"""Fixtures of other folders that attacks need."""

from tests.registry.conftest import registry, registry_url
from tests.support.secured_broker import secured_kafka

__all__ = ["registry", "registry_url", "secured_kafka"]
