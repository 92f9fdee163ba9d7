"""The OpenAPI document says every answer: also each problem, where it can happen."""

from collections.abc import Collection, Iterator
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from shared.contracts.refusals import Refusal

_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_METHODS = ("get", "post", "put", "patch", "delete")
_WITH_A_BODY = ("post", "put", "patch", "delete")
_WHEN = {
    400: "the request is not valid HTTP",
    401: "no valid bearer token",
    403: "this role may not",
    404: "not there, or not for who asks",
    408: "the request did not come in time",
    409: "it stands against what is there",
    413: "the body is too large",
    415: "the body is of another kind",
    421: "nobody has the name of the Host header here",
    422: "a value does not fit; each refusal names field, reason and cure",
    429: "too many requests, or too many that wait: see Retry-After",
    503: "the service cannot answer now: see Retry-After",
}
_ALWAYS = (400, 408, 421, 429, 503)


class Problem(BaseModel):
    """RFC 9457: why a request was refused, and what to do."""

    type: str
    status: int
    title: str
    detail: str
    refusals: tuple[Refusal, ...] = Field(description="each fault, with field, value, reason and cure")


def describe(app: FastAPI, *, public: Collection[str]) -> None:
    """Let the document of `app` name the problems of every route; `public` paths need no token."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(plain(), public)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # what FastAPI's page on extending OpenAPI does


def _complete(document: dict[str, Any], public: Collection[str]) -> None:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**problem.pop("$defs", {}), "Problem": problem}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                _name_problems(item[method], _statuses(path, method, path in public))


def _statuses(path: str, method: str, is_public: bool) -> Iterator[int]:
    yield from _ALWAYS
    if not is_public:
        yield 401
        yield 422
    if method in _WITH_A_BODY:
        yield from (403, 404, 409, 413, 415)
    elif path == "/metrics" or path.endswith("/audit/export"):
        yield 403
    elif "{" in path or "project" in path or path.endswith("/outdated"):
        yield 404


def _name_problems(operation: dict[str, Any], statuses: Iterator[int]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    for status in sorted(statuses):
        responses.setdefault(
            str(status),
            {
                "description": _WHEN[status],
                "content": {"application/problem+json": {"schema": dict(_REFERENCE)}},
            },
        )
