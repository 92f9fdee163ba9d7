"""The inbox of a rebuilt database: what was handled, as the events that it caused tell it."""

from collections.abc import Sequence

from shared.contracts.envelope import HTTP_SOURCE
from shared.replay.restorer import NO_ANSWER, Restorer
from shared.replay.told import Told

Row = tuple[str, str, str, str]
"""Source, id, digest and verdict."""

_HELD_MAX = 100_000

COLUMNS = ("source", "id", "digest", "verdict")
KEY = "source, id"
# Of several events with one cause, that one tells its verdict which answers it.
BEST = f"verdict::text = '{NO_ANSWER}'"


class Causes:
    """Rows for the inbox. Nearly always there is one for each cause, and the better one where events differ.

    Not always: only what was read lately is remembered. Of what comes twice `BEST` is to be kept.
    """

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self._lately: dict[tuple[str, str, str], bool] = {}
        """Whether the verdict on it was an answer."""
        self._waiting: dict[tuple[str, str, str], None] = {}
        """Came over HTTP, and was not answered by any event so far."""

    def rows(self, events: Sequence[Told]) -> list[Row]:
        """What these tell. Raises `NotOurs`."""
        rows: list[Row] = []
        for event in events:
            cause = event.cause
            if cause is None or self._lately.get(cause):
                continue
            verdict = self._restorer.verdict(event, cause[0])
            answered = verdict != NO_ANSWER
            if answered:
                self._waiting.pop(cause, None)
                rows.append((*cause, verdict))
            elif cause in self._lately:
                continue
            elif cause[0].startswith(HTTP_SOURCE):
                self._waiting[cause] = None
            else:
                rows.append((*cause, verdict))
            self._lately[cause] = answered
        if len(self._lately) > _HELD_MAX:
            self._lately.clear()
        return rows if len(self._waiting) <= _HELD_MAX else rows + self.rest()

    def rest(self) -> list[Row]:
        """Those whose answer no event has told."""
        waiting, self._waiting = self._waiting, {}
        return [(*cause, NO_ANSWER) for cause in waiting]
