"""Every refusal as `application/problem+json` (RFC 9457): the field, the reason and the cure."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from shared.audit import origins
from shared.contracts.bounded import naming_every_fault, said_of
from shared.contracts.refusals import Refusal
from shared.errors import Reject, Retry
from shared.http.bodies import BodyTooLarge
from shared.http.limits import TooMany
from shared.http.tokens import Unauthenticated
from shared.storage.database import is_passing

_REFUSALS_MAX = 20
STATUS = {"invalid": 422, "not-found": 404, "forbidden": 403, "conflict": 409}


def problem(
    status: int,
    title: str,
    refusals: tuple[Refusal, ...] = (),
    *,
    retry_after_s: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """One problem document; `refusals` lists each fault with field, value, reason and cure."""
    origins.refused(title, refusals)
    body = {
        "type": "about:blank",
        "status": status,
        "title": title,
        "detail": "; ".join(refusal.reason for refusal in refusals) or title,
        "refusals": [refusal.model_dump() for refusal in refusals],
    }
    more = dict(headers or {})
    if status == 401:
        more["WWW-Authenticate"] = "Bearer"
    if retry_after_s is not None:
        more["Retry-After"] = str(ceil(retry_after_s))
    return JSONResponse(body, status, more, media_type="application/problem+json")


def validation_refusals(error: ValidationError | RequestValidationError) -> tuple[Refusal, ...]:
    """The faults of a request that does not fit its model."""
    return _refusals(error.errors())


def _refusals(faults: Sequence[Mapping[str, Any]]) -> tuple[Refusal, ...]:
    """The first faults, and how many follow."""
    named = tuple(_refusal(fault) for fault in faults[:_REFUSALS_MAX])
    left = len(faults) - len(named)
    if left <= 0:
        return named
    cure = "correct those that are named, and send it again"
    return (*named, Refusal(kind="invalid", reason=f"and {left} more faults", field="body", cure=cure))


def _faults_of(error: RequestValidationError, request: Request) -> Sequence[Mapping[str, Any]]:
    """Every fault. A list of a contract ends at its first one, but its sender wants to know all."""
    found: Sequence[Mapping[str, Any]] = error.errors()
    field = getattr(request.scope.get("route"), "body_field", None)
    model = None if field is None else field.field_info.annotation
    in_body = [fault for fault in found if fault["loc"][:1] == ("body",)]
    if not in_body or not isinstance(error.body, dict) or not _is_model(model):
        return found
    # How many values a body has was bounded before: twenty thousand faults take some hundredths of a second.
    try:
        naming_every_fault(model).validate_python(error.body)
    except ValidationError as every:
        others = [fault for fault in found if fault not in in_body]
        return [
            *others,
            *({**fault, "loc": ("body", *fault["loc"])} for fault in every.errors(include_url=False)),
        ]
    return found


def _is_model(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


def _refusal(fault: Mapping[str, Any]) -> Refusal:
    if fault["type"] == "json_invalid":
        why = fault.get("ctx", {}).get("error", fault["msg"])
        return Refusal(
            kind="invalid",
            reason=f"the body is not valid JSON at character {fault['loc'][-1]}: {why}",
            field="body",
            cure="send one JSON document with Content-Type: application/json",
        )
    where = _whole(".".join(str(part)[:100] for part in fault["loc"] if part != "body") or "body")
    value = fault.get("input")
    return Refusal(
        kind="invalid",
        reason=_whole(f"{where}: {said_of(fault)}"),
        field=where,
        value=_shown(value),
        cure=f"correct `{where}`; the OpenAPI document at /openapi.json says what it may be",
    )


def _shown(value: object) -> str | None:
    """A value that may be said again: a URL may have a password in it."""
    if value is None or isinstance(value, (dict, list)):
        return None
    text = _whole(str(value)[:200])
    return None if "://" in text else text


def _whole(text: str) -> str:
    """The text with `?` for each half of a pair, which no answer could be encoded with."""
    return text.encode(errors="replace").decode()


def answer_to(error: Exception) -> JSONResponse:
    """Any error as the problem document that its sender is to read."""
    match error:
        case Reject():
            kind = error.refusals[0].kind
            return problem(STATUS[kind], kind.replace("-", " "), error.refusals)
        case Unauthenticated():
            return problem(401, str(error))
        case BodyTooLarge():
            return problem(413, "too large", (error.refusal,))
        case TooMany():
            return problem(429, str(error), retry_after_s=error.retry_after_s)
        case RequestValidationError():
            return problem(422, "invalid", validation_refusals(error))
        case HTTPException():
            return problem(error.status_code, str(error.detail), headers=error.headers)
        case Retry():
            return problem(503, str(error), retry_after_s=1)
    if is_passing(error):
        return problem(503, "the database does not answer; try again", retry_after_s=1)
    return problem(500, f"internal error: {type(error).__name__}")


def install(app: FastAPI) -> None:
    """Make every error of this application a problem document."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, RequestValidationError):
            return problem(422, "invalid", _refusals(_faults_of(error, request)))
        return answer_to(error)

    refusing = (Reject, Unauthenticated, BodyTooLarge, TooMany, RequestValidationError, HTTPException)
    for kind in (*refusing, Retry, Exception):
        app.add_exception_handler(kind, answer)
