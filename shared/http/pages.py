"""Lists in pages: bounded, in an order that does not move, continued by a cursor that is handed back.

A list answers with at most `limit` rows, and with fewer large ones. While there are more, the header `Link`
has `rel="next"`: the same query with the cursor of the last row. What somebody may not see is left out before
rows are counted.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel

from shared.errors import Reject, invalid

PAGE_ROWS = 100
PAGE_ROWS_MAX = 200
_FIRST_YEAR, _LAST_YEAR = 1900, 3000

T = TypeVar("T")
Key = tuple[Any, ...]
Kind = type | Callable[[str], str]


@dataclass(frozen=True)
class Page:
    """The part of a list that is asked for."""

    request: Request
    response: Response
    limit: int
    cursor: str | None

    @property
    def most(self) -> int:
        """How many rows to look for: with one more than are shown, it is known whether that is all."""
        return self.limit + 1

    def after(self, *kinds: Kind) -> Key | None:
        """The key of the row that was seen last; None at the start.

        A kind is str, int, datetime, or what makes of a text one that fits and raises ValueError otherwise.

        Raises `Reject` when the cursor is not one of this list.
        """
        return None if self.cursor is None else _read(self.cursor, kinds)

    def cut(self, rows: Sequence[T], key: Callable[[T], Key], *, more: bool = False) -> list[T]:
        """The rows of this page, of up to `most` that were found; `key` is what `after` is given next.

        With `more`, others follow although fewer were read.
        """
        shown = list(rows[: self.limit])
        if len(rows) > self.limit or (more and shown):
            self.goes_on(key(shown[-1]))
        return shown

    def answer(self, report: BaseModel) -> Response:
        """The report as it is: it was validated when it was made, and goes to JSON in one pass."""
        headers = {"link": link} if (link := self.response.headers.get("link")) else None
        return Response(report.model_dump_json(by_alias=True), media_type="application/json", headers=headers)

    def goes_on(self, after: Key) -> str:
        """Say where the next page begins; its cursor."""
        cursor = _written(after)
        kept = [(name, value) for name, value in self.request.query_params.multi_items() if name != "after"]
        self.response.headers["Link"] = f'<?{urlencode([*kept, ("after", cursor)])}>; rel="next"'
        return cursor


def _page(
    request: Request,
    response: Response,
    limit: Annotated[
        int, Query(ge=1, le=PAGE_ROWS_MAX, description="rows of one page; the header Link has the next one")
    ] = PAGE_ROWS,
    after: Annotated[
        str | None, Query(max_length=1000, description="the cursor, as the next page's link has it")
    ] = None,
) -> Page:
    return Page(request, response, limit, after)


AsksPage = Annotated[Page, Depends(_page)]
"""A FastAPI dependency: the page of a list, from `limit` and `after`."""


def _written(key: Key) -> str:
    values = [value.isoformat() if isinstance(value, datetime) else value for value in key]
    return urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _read(cursor: str, kinds: Sequence[Kind]) -> Key:
    try:
        values = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(kinds):
            raise _foreign(cursor)
        return tuple(_fit(value, kind) for value, kind in zip(values, kinds, strict=True))
    except (ValueError, RecursionError) as error:
        raise _foreign(cursor) from error


def _fit(value: object, kind: Kind) -> Any:
    """The value as this kind. Raises ValueError for what no cursor holds."""
    if kind is datetime and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        # PostgreSQL has no moment without a zone here, and the driver none near the calendar's ends.
        if moment.tzinfo is not None and _FIRST_YEAR < moment.year < _LAST_YEAR:
            return moment
    elif kind is int and type(value) is int and abs(value) < 1 << 63:
        return value
    elif isinstance(value, str) and value.isprintable() and kind not in (int, datetime):
        return kind(value)
    raise ValueError("not a value of a cursor")


def _foreign(cursor: str) -> Reject:
    return invalid(
        "not a cursor of this list",
        field="after",
        value=cursor[:100],
        cure="take it from the Link header of the page before, or leave it out to begin",
    )
