"""Tries over HTTP that no handler judges: refused at the door, or a write that is no command.

Whoever is proven has an entry for each. Whoever is not has one for each address and minute, and all of them
together have sixty a minute: how many more there were, the next entry and a metric say. So nobody without a
token can make the log grow faster.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cachetools import TTLCache

from shared.audit.notes import on_try, written
from shared.audit.origins import Asked
from shared.contracts.refusals import Refusal
from shared.contracts.values import Actor
from shared.storage.database import Database
from shared.telemetry.metrics import AUDIT_LOST, UNAUTHENTICATED

log = logging.getLogger(__name__)

_WITHIN_S = 10.0
_MINUTE_S = 60.0
_ADDRESSES_MAX = 1000
_A_MINUTE = 60
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_RATED = 429
"""Too many at once: nothing was asked that was judged, and the same may come again."""


@dataclass
class _Strangers:
    """Which tries without a valid token have an entry of their own."""

    seen: TTLCache[str, bool] = field(default_factory=lambda: TTLCache(_ADDRESSES_MAX, _MINUTE_S))
    minute: int = -1
    left: int = 0
    untold: int = 0

    def take(self, address: str) -> int | None:
        """None for a try that is only counted; else how many of these were before it."""
        now = int(time.monotonic() // _MINUTE_S)
        if now != self.minute:
            self.minute, self.left = now, _A_MINUTE
        if address in self.seen or self.left == 0:
            self.untold += 1
            return None
        self.seen[address] = True
        self.left -= 1
        before, self.untold = self.untold, 0
        return before


class Tries:
    """Notes what was asked of these services, each in its own log; of no service's path, in the first's."""

    def __init__(self, databases: Mapping[str, Database[Any]]) -> None:
        self._databases = databases
        self._strangers = _Strangers()

    async def note(self, method: str, path: str, status: int, actor: Actor | None, asked: Asked) -> None:
        """Note the request that is about to be answered with `status`, if it is one of those.

        It never fails: what cannot be written is counted and logged.
        """
        service = path.split("/", 2)[1]
        details = {**asked.details, "status": str(status)}
        if actor is None:
            if status != 401:
                return
            UNAUTHENTICATED.labels(service if service in self._databases else "none").inc()
            before = self._strangers.take(asked.address)
            if before is None:
                return
            details["not_told_before"] = str(before)
        elif not _weighs(method, status, asked):
            return
        database = self._databases.get(service) or next(iter(self._databases.values()))
        refused = 400 <= status < 500
        try:
            async with asyncio.timeout(_WITHIN_S), database.transaction() as tx:
                note = on_try(
                    tx.now,
                    actor,
                    asked.origin,
                    f"{method} {path}",
                    path,
                    (asked.refusals or (_unsaid(status, asked.title),)) if refused else (),
                    verdict="refused" if refused else "accepted",
                    details=details,
                    project=asked.project,
                )
                tx.note(written(note))
        except Exception:
            AUDIT_LOST.labels(database.service).inc()
            log.exception("no audit entry for %s %s (%d) of %s", method, path, status, actor)


def _weighs(method: str, status: int, asked: Asked) -> bool:
    if asked.noted or status == _RATED or status >= 500:
        return False
    if status >= 400:
        return method in _WRITES or status == 403 or asked.hidden
    return method in _WRITES


def _unsaid(status: int, title: str) -> Refusal:
    kind = {401: "forbidden", 403: "forbidden", 404: "not-found", 409: "conflict"}.get(status, "invalid")
    return Refusal.model_validate(
        {"kind": kind, "reason": title or f"answered {status}", "cure": "see the answer"}
    )
