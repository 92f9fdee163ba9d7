"""Every refusal as `application/problem+json` (RFC 9457): the field, the reason and the cure."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from shared.contracts.refusals import Refusal
from shared.errors import Reject
from shared.http.tokens import Unauthenticated
from shared.storage.database import is_passing

STATUS = {"invalid": 422, "not-found": 404, "forbidden": 403, "conflict": 409}


def problem(status: int, title: str, refusals: tuple[Refusal, ...] = ()) -> JSONResponse:
    """One problem document; `refusals` lists each fault with field, value, reason and cure."""
    body = {
        "type": "about:blank",
        "status": status,
        "title": title,
        "detail": "; ".join(refusal.reason for refusal in refusals) or title,
        "refusals": [refusal.model_dump() for refusal in refusals],
    }
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def validation_refusals(error: ValidationError | RequestValidationError) -> tuple[Refusal, ...]:
    """Each fault of a body that does not fit its model."""
    refusals = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"] if part != "body") or "body"
        value = fault.get("input")
        refusals.append(
            Refusal(
                kind="invalid",
                reason=f"{where}: {fault['msg']}",
                field=where,
                value=None if value is None or isinstance(value, (dict, list)) else str(value)[:200],
                cure=f"correct `{where}`; the OpenAPI document at /openapi.json says what it may be",
            )
        )
    return tuple(refusals)


def install(app: FastAPI) -> None:
    """Make every error of this application a problem document."""

    @app.exception_handler(Reject)
    async def rejected(_: Request, error: Reject) -> JSONResponse:
        kind = error.refusals[0].kind
        return problem(STATUS[kind], kind.replace("-", " "), error.refusals)

    @app.exception_handler(Unauthenticated)
    async def unauthenticated(_: Request, error: Unauthenticated) -> JSONResponse:
        return problem(401, str(error))

    @app.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: RequestValidationError) -> JSONResponse:
        return problem(422, "invalid", validation_refusals(error))

    @app.exception_handler(HTTPException)
    async def plain(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        if is_passing(error):
            return problem(503, "the database does not answer; try again")
        return problem(500, f"internal error: {type(error).__name__}")
