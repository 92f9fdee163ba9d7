"""The parameters of a URL: a route takes those that it declares, and nothing else."""

from fastapi import Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from shared.contracts.refusals import Refusal
from shared.errors import Reject

_NAMED_MAX = 20
_NAME_CHARACTERS = 100


def require_known_queries(request: Request) -> None:
    """A FastAPI dependency. Raises `Reject` that names each parameter which the route does not have.

    A filter with a slip in its name would else be answered as if nobody had filtered.
    """
    if not request.query_params:
        return
    known = _declared(request.scope["route"])
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        cure = f"it takes {', '.join(known)}" if known else "it takes none"
        raise Reject(*(_unknown(name[:_NAME_CHARACTERS], cure) for name in unknown[:_NAMED_MAX]))


def _unknown(name: str, cure: str) -> Refusal:
    shown = ascii(name)
    reason = f"this route has no query parameter {shown}"
    return Refusal(
        kind="invalid", reason=reason, field=shown[1:-1], cure=f"leave it out, or correct it: {cure}"
    )


def _declared(route: APIRoute) -> tuple[str, ...]:
    taken = get_flat_params(route.dependant)
    return tuple(sorted({field.alias for field in taken if isinstance(field.field_info, params.Query)}))
