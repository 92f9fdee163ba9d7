"""A Release and every Run that adopts it are one trace, which anybody can tell who knows the Release."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.planner.store import PlannerTransaction
from shared.contracts.envelope import release_trace
from shared.messaging.reminder import Reminder
from shared.storage.database import Database
from shared.telemetry.traces import configure_tracing, stop_tracing
from tests.support.planner_service import PlannerService


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP collector, and what it was sent."""
    taken: list[ExportTraceServiceRequest] = []

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            taken.append(
                ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """It is a test's: it has nothing to say."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Takes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_all_that_a_run_says_belongs_to_the_trace_of_its_release(planner: PlannerService) -> None:
    before = len(await planner.sent())
    run = await planner.started()
    (system, version), *_ = run.systems.items()
    said = (await planner.sent())[before:]
    assert len(said) >= 4
    assert {one.envelope.traceparent for one in said} == {release_trace(system, version)}


async def test_what_is_sent_again_after_a_restart_keeps_its_trace_and_its_run(
    planner: PlannerService,
) -> None:
    run = await planner.started()
    before = len(await planner.sent())
    await Reminder(planner.database, PlannerTransaction.open_messages).start()
    again = [one.envelope for one in await planner.sent(after=before)]
    (system, version), *_ = run.systems.items()
    assert len(again) == 2
    assert {(each.traceparent, each.correlation_id) for each in again} == {
        (release_trace(system, version), run.id)
    }


async def test_spans_reach_the_collector(
    planner: PlannerService, database: Database[PlannerTransaction]
) -> None:
    with collector() as (endpoint, taken):
        configure_tracing("planner", endpoint)
        try:
            run = await planner.started()
        finally:
            stop_tracing("planner")
    spans = [
        span
        for request in taken
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    names = [span.name for span in spans]
    assert "upgrades.RequestPlan.v1" in names
    assert "upgrades.StageFinished.v1" in names
    assert "upgrades.StartRun.v1" in names
    resource = {one.key: one.value.string_value for one in taken[0].resource_spans[0].resource.attributes}
    assert resource["service.name"] == "upgradepath-planner"
    asked = next(span for span in spans if span.name == "upgrades.StartRun.v1")
    assert {one.key: one.value.string_value for one in asked.attributes}["subject"] == run.project
