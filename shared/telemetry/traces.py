"""Traces in OpenTelemetry's terms. Without an endpoint nothing is recorded, and a span costs one comparison.

The context travels in messages as `traceparent` (https://www.w3.org/TR/trace-context/), recorded or not: the
trace of a Release is found again in every Run that adopts it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_tracers: dict[str, "Tracer"] = {}


def configure_tracing(service: str, endpoint: str) -> None:
    """Send this process's spans to `endpoint`, an OTLP address over HTTP (`http://collector:4318`)."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"upgradepath-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    _tracers[service] = provider.get_tracer("upgradepath")


@contextmanager
def span(
    service: str, name: str, traceparent: str | None, attributes: dict[str, str | int]
) -> Iterator[None]:
    """Record what happens inside as one span of the trace that `traceparent` names; an exception marks it."""
    tracer = _tracers.get(service)
    if tracer is None:
        yield
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {"traceparent": traceparent} if traceparent else {}
    context = TraceContextTextMapPropagator().extract(carrier)
    with tracer.start_as_current_span(name, context=context, attributes=attributes):
        yield
