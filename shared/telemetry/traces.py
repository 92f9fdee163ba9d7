"""Traces in OpenTelemetry's terms. Without an endpoint nothing is recorded, and a span costs one comparison.

The context travels in messages as `traceparent` (https://www.w3.org/TR/trace-context/), recorded or not: the
trace of a Release is found again in every Run that adopts it.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from shared.contracts.envelope import Envelope, trace_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_providers: dict[str, "TracerProvider"] = {}


def configure_tracing(service: str, endpoint: str) -> None:
    """Send this service's spans to `endpoint`, an OTLP address over HTTP: `http://collector:4318`."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"upgradepath-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    _providers[service] = provider


def stop_tracing(service: str) -> None:
    """Send what is not sent yet, and record nothing more."""
    provider = _providers.pop(service, None)
    if provider is not None:
        provider.shutdown()


def span(service: str, name: str, about: Envelope) -> AbstractContextManager[object]:
    """Record what happens inside as a span of the message's trace; an exception marks it."""
    provider = _providers.get(service)
    if provider is None:
        return nullcontext()
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": trace_of(about)})
    attributes = {"subject": about.subject, "message.id": about.id, "run": about.correlation_id or ""}
    return provider.get_tracer("upgradepath").start_as_current_span(
        name, context=context, attributes=attributes
    )
