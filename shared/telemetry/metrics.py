"""Metrics in Prometheus's text format: counters that the process keeps, gauges asked for when somebody looks.

A gauge is asked of the database at each scrape, so it tells the truth from the first moment of a process
on, and two processes of one service say the same of their common tables.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

HANDLED = Counter("upgradepath_messages_handled", "Messages whose transaction is durable.", ["service"])
DEAD_LETTERS = Counter("upgradepath_dead_letters", "Records that could not be read or handled.", ["service"])
PROOFS_REFUSED = Counter(
    "upgradepath_proofs_refused",
    "Messages that no service with the right to send them has signed; each is a dead letter, too.",
    ["service"],
)
UNPROVEN = Counter(
    "upgradepath_unproven_commands", "People's commands on topics without proof of their actor.", ["service"]
)
UNAUTHENTICATED = Counter(
    "upgradepath_unauthenticated_requests", "Requests over HTTP without a valid token.", ["service"]
)
AUDIT_LOST = Counter(
    "upgradepath_audit_lost", "Tries over HTTP whose audit entry could not be written.", ["service"]
)
PRUNED = Counter(
    "upgradepath_pruned_rows",
    "Rows that were deleted because nobody can ask for them again.",
    ["service", "table"],
)
BATCH_SECONDS = Histogram(
    "upgradepath_batch_seconds",
    "From the first statement of a batch of messages to its commit.",
    ["service"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

_FROM_THE_FIRST = (HANDLED, DEAD_LETTERS, PROOFS_REFUSED, UNPROVEN, UNAUTHENTICATED, AUDIT_LOST)


def begin_at_zero(service: str) -> None:
    """Export this service's counters from its start: of a series that appears with 5, 5 is no increase."""
    for counter in _FROM_THE_FIRST:
        counter.labels(service)


Gauges = Callable[[], Awaitable[Iterable[Metric]]]
"""Asks for some gauges. May raise what the database's driver raises."""


def gauge(
    name: str, help_: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    """One gauge; `values` has a tuple of label values for each key."""
    family = GaugeMetricFamily(f"upgradepath_{name}", help_, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def exposition(gauges: Iterable[Metric]) -> bytes:
    """Everything that this process counts, and these gauges, as a scrape reads them."""
    asked = CollectorRegistry()
    asked.register(_Asked(_merged(gauges)))
    return generate_latest(REGISTRY) + generate_latest(asked)


class _Asked:
    """A collector over what has been asked already: asking is asynchronous, collecting is not."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _merged(gauges: Iterable[Metric]) -> Iterable[Metric]:
    """One family per name: five services in one process each tell of their own outbox."""
    families: dict[str, Metric] = {}
    for family in gauges:
        if family.name in families:
            families[family.name].samples.extend(family.samples)
        else:
            families[family.name] = family
    return families.values()
