"""Gauges of what proves people's tokens: keys and the list of revoked ones, and whether they can be read."""

from collections.abc import Iterable

from prometheus_client.core import Metric

from shared.identity.key_sources import HeldKeys
from shared.identity.tokens import TokenVerifier
from shared.telemetry import metrics


def gauges(service: str, tokens: TokenVerifier) -> Iterable[Metric]:
    """Of each issuer's keys, of our own (`own`) where they are read again, and of what was revoked."""
    if tokens.revoked is not None:
        size: dict[tuple[str, ...], float] = {(service,): tokens.revoked.size_bytes()}
        unread: dict[tuple[str, ...], float] = {(service,): tokens.revoked.unread_s()}
        yield metrics.gauge(
            "token_revocations_unread_seconds", "Since the list cannot be read.", ("service",), unread
        )
        yield metrics.gauge("token_revocations_bytes", "Size of the list.", ("service",), size)
    held = [source for source in tokens.sources if isinstance(source, HeldKeys)]
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
