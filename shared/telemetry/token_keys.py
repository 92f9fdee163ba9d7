"""Gauges of the keys that prove people's tokens: how old they are, and whether they can be read."""

from collections.abc import Iterable, Sequence

from prometheus_client.core import Metric

from shared.identity.key_sources import HeldKeys, KeySource
from shared.telemetry import metrics


def gauges(service: str, sources: Sequence[KeySource]) -> Iterable[Metric]:
    """Of each issuer's keys, and of our own (`own`) where they are read again."""
    held = [source for source in sources if isinstance(source, HeldKeys)]
    if not held:
        return
    labels = ("service", "keys")
    ages: dict[tuple[str, ...], float | None] = {(service, each.where): each.age_s() for each in held}
    read = {of: age_s for of, age_s in ages.items() if age_s is not None}
    yield metrics.gauge("token_keys_age_seconds", "Since the keys of tokens were read.", labels, read)
    usable: dict[tuple[str, ...], float] = {
        (service, each.where): float(bool(each.keys().by_kid)) for each in held
    }
    yield metrics.gauge("token_keys_usable", "Whether they prove anybody now.", labels, usable)
