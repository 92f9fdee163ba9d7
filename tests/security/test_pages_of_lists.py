"""Every list of every OpenAPI document comes in pages; a new one falls under these laws by itself.

Each test would catch a list without an end, one that loses or repeats a row between two pages, or one that is
cut before it is filtered.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from shared.application import Service, web_application
from shared.clock import utc_now
from shared.contracts.runs import RequestPlan
from shared.contracts.stages import Failed, StageFinished
from shared.contracts.topics import SERVICES
from tests.conftest import ServiceDatabase
from tests.security.test_loops_of_services import RUN, _built
from tests.support.golden_messages import examples
from tests.support.planner_examples import MIRA, PROJECT, release
from tests.support.planner_service import PlannerService

MANY = 7
ONE_DOCUMENT = frozenset(
    {"ReleasePage", "ProjectState", "RunState", "PlanState", "Plan", "VersionMap", "Health"}
)
"""Answers that hold lists which came with one message, and are as bounded as it is."""
EXPORT = "/audit/export"
"""It goes on by the number of an entry, which the reader has in its hand."""
Operation = dict[str, Any]


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    for path, item in document["paths"].items():
        if "get" in item:
            yield path, item["get"]


def _answer(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = (
        operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
    )
    return found


def _holds_list(schema: dict[str, Any], schemas: dict[str, Any], seen: frozenset[str] = frozenset()) -> bool:
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        return name not in seen and _holds_list(schemas[name], schemas, seen | {name})
    parts = [each for key in ("anyOf", "oneOf", "allOf") for each in schema.get(key, ())]
    parts += schema.get("properties", {}).values()
    return schema.get("type") == "array" or any(_holds_list(each, schemas, seen) for each in parts)


def _in_pages(operation: Operation) -> dict[str, Any] | None:
    """The schema of `limit`, if the operation takes the parameters of a page."""
    given = {
        each["name"]: each["schema"] for each in operation.get("parameters", ()) if each["in"] == "query"
    }
    return given.get("limit") if "after" in given else None


@asynccontextmanager
async def _document(name: str) -> AsyncIterator[dict[str, Any]]:
    # Nothing is asked of the database.
    async with _built(name, "postgresql://x@127.0.0.1:1/x", Path("/nonexistent")) as (service, _):
        yield web_application([service]).openapi()


@pytest.mark.parametrize("name", SERVICES)
async def test_whatever_answers_a_list_takes_a_page(name: str) -> None:
    """A new route that answers a list without end, or holds one, fails here."""
    async with _document(name) as document:
        schemas = document["components"]["schemas"]
        for path, operation in _operations(document):
            answer = _answer(operation)
            named = answer.get("$ref", "").rpartition("/")[2]
            if not _holds_list(answer, schemas) or named in ONE_DOCUMENT:
                continue
            limit = _in_pages(operation)
            assert limit is not None, f"{path} answers a list, and takes no page"
            most = 1_000 if path.endswith(EXPORT) else 200
            assert (limit["minimum"], limit["maximum"] <= most, "default" in limit) == (1, True, True), path


@pytest.mark.parametrize("name", SERVICES)
async def test_a_parameter_that_no_route_has_is_named(
    service_database: ServiceDatabase, tmp_path: Path, name: str
) -> None:
    """`?stat=open` was answered as if nobody had filtered."""
    async with _built(name, await service_database(name), tmp_path) as (service, http):
        for path, operation in _operations(web_application([service]).openapi()):
            if not path.startswith(f"/{name}/"):
                continue
            taken = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
            url = path.format(**VALUES)
            answer = await http.get(url, params={"limitt": "1", **dict.fromkeys(("stat\n", "é"), "x")})
            assert answer.status_code == 422, (path, answer.text)
            refusals = answer.json()["refusals"]
            assert [each["field"] for each in refusals] == ["limitt", "stat\\n", "\\xe9"], path
            assert all(name in refusals[0]["cure"] for name in taken), path
            many = await http.get(url, params={f"x{number}": "1" for number in range(300)})
            assert len(many.json()["refusals"]) == 20


VALUES = {
    "project": PROJECT, "run_id": RUN, "system": "auth-system", "version": "1.0.0", "digest": "0" * 64,
}  # fmt: skip


async def _planner(service: Service) -> None:
    planner = PlannerService(service.database)
    await planner.knows()
    for _ in range(MANY):
        await planner.ask(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None}))


async def _worker(service: Service) -> None:
    answer = StageFinished(
        run_id=RUN, project_id="acme", stage="validate", attempt=1, fence=1, outcome=Failed(reason="no"),
        worker="w", started_at=utc_now(), finished_at=utc_now(),
    )  # fmt: skip
    async with service.database.transaction() as tx:
        await tx.fetch(
            "insert into jobs (run_id, fence, project_id, stage, attempt, state, generation, command,"
            " cause, result, accepted_at) select $1, n, 'acme', 'validate', n, 'finished', 1, '{}', '{}',"
            " $2::text::json, now() from generate_series(1, $3::int) n",
            *(RUN, answer.model_dump_json(), MANY),
        )


async def _registry(service: Service) -> None:
    published = examples()["ReleasePublished.v1.json"].model_dump_json()
    recorded = examples()["VersionMapRecorded.v1.json"]
    registered = examples()["ProjectRegistered.v1.json"].model_dump_json()
    async with service.database.transaction() as tx:
        await tx.fetch(
            "insert into releases (system, version, published, defaults, defines, changelog, migration_notes)"
            " select s, '1.' || n || '.0',"
            " jsonb_set(jsonb_set($1::text::jsonb, '{release,system}', to_jsonb(s)),"
            " '{release,version}', to_jsonb('1.' || n || '.0'))::json, '{}', '[]', '', ''"
            " from generate_series(1, $2::int) n, unnest(array['auth-system', 'quote-system']) s",
            *(published, MANY),
        )
        await tx.fetch(
            "insert into projects (id, registered)"
            " select p, jsonb_set($1::text::jsonb, '{project,id}', to_jsonb(p))::json"
            " from (select $3 as p union all select 'portal-' || n from generate_series(1, $2::int) n) ps",
            *(registered, MANY, PROJECT),
        )
        await tx.fetch(
            "insert into version_maps (project, event_type, event, fence)"
            " select id, 'VersionMapRecorded', $1::text::json, 1 from projects",
            recorded.model_dump_json(),
        )
        await tx.fetch(
            "insert into version_map_history (project, revision, event_type, event, happened_at)"
            " select $1, n, 'VersionMapRecorded', jsonb_set($2::text::jsonb,"
            " '{version_map,revision}', to_jsonb(n))::json, now() from generate_series(1, $3::int) n",
            *(PROJECT, recorded.model_dump_json(), MANY),
        )


async def _notifier(service: Service) -> None:
    ready = examples()["NotificationReady.v1.json"].model_dump(mode="json")["notification"]

    async with service.database.transaction() as tx:
        await tx.fetch(
            "insert into known_releases (system, version, release) select 'auth-system', v, r::json"
            " from unnest($1::text[], $2::text[]) as n (v, r)",
            [f"1.{number}.0" for number in range(MANY)],
            [release("auth-system", f"1.{number}.0").model_dump_json() for number in range(MANY)],
        )
        await tx.fetch(
            "insert into pins (project, system, version) select 'portal-' || n, 'auth-system', '1.0.0'"
            " from generate_series(1, $1::int) n",
            MANY,
        )
        await tx.fetch("insert into inboxes values ($1, 1, 1)", PROJECT)
        await tx.fetch(
            "insert into notifications (project, system, version, state, revision, notification)"
            " select $1, 'auth-system', '1.' || n || '.0',"
            " case when n = 3 then 'open' else 'superseded' end, n,"
            " jsonb_set(jsonb_set($2::text::jsonb, '{version}', to_jsonb('1.' || n || '.0')),"
            " '{state}', to_jsonb(case when n = 3 then 'open' else 'superseded' end))::json"
            " from generate_series(1, $3::int) n",
            *(PROJECT, json.dumps(ready), MANY),
        )


FILL = {
    "planner": _planner, "executor": _worker, "validator": _worker, "registry": _registry,
    "notifier": _notifier,
}  # fmt: skip
FILTERS: dict[str, list[dict[str, str]]] = {
    "/planner/runs": [{"project": PROJECT}, {"status": "planning"}, {"status": "succeeded"}],
    "/registry/releases": [{"system": "quote-system"}, {"withdrawn": "true"}, {"withdrawn": "false"}],
    "/notifier/inbox/{project}": [{"state": "open"}, {"state": "superseded"}],
    "/notifier/outdated": [{"project": "portal-3"}],
}


async def _walk(http: httpx.AsyncClient, url: str, **query: str) -> list[Any]:
    """Every row of the list, page by page; each page but the last is full of what it holds."""
    found: list[Any] = []
    while True:
        answer = await http.get(url, params=query)
        assert answer.status_code == 200, (url, answer.text)
        rows = answer.json()
        if isinstance(rows, dict):
            rows = [row for name in sorted(rows) if name in ("jobs", "entries") for row in rows[name]]
        assert len(rows) <= int(query["limit"])
        found += rows
        if "next" not in answer.links:
            return found
        assert rows, f"a page of {url} is empty, and others follow"
        assert len(found) < 1_000, f"{url} has no end"
        asked = parse_qs(urlsplit(answer.links["next"]["url"]).query)
        query = {name: values[0] for name, values in asked.items()}


@pytest.mark.parametrize("name", SERVICES)
async def test_every_list_is_walked_to_its_end(
    service_database: ServiceDatabase, tmp_path: Path, name: str
) -> None:
    """A new list fails here until `FILL` gives it rows: with none, a walk would show nothing."""
    async with _built(name, await service_database(name), tmp_path) as (service, http):
        await FILL[name](service)
        for number in range(MANY):
            # Each try that is refused is an entry of the audit log.
            await http.post(f"/{name}/{'runs' if name == 'planner' else 'nothing'}/{number}", json={})
        walked = 0
        for path, operation in _operations(web_application([service]).openapi()):
            if _in_pages(operation) is None or path.endswith(EXPORT):
                continue
            url = path.format(**VALUES)
            for asked in ({}, *FILTERS.get(path, ())):
                whole, pairs, ones = [
                    await _walk(http, url, limit=str(most), **asked) for most in (200, 2, 1)
                ]
                assert ones == pairs == whole, (path, asked)
                assert len({str(row) for row in whole}) == len(whole), path
                assert asked or len(whole) >= MANY - 1, f"{path} has {len(whole)} rows: FILL gives it none"
            walked += 1
        assert walked
