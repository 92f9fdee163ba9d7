"""The database's clock, read without asking it each time."""

import time
from datetime import UTC, datetime, timedelta

from shared.storage.lane import Lane

_TRUSTED_S = 10.0
"""In which two quartzes part by less than a millisecond."""


class DatabaseClock:
    """All processes of a service see one time, their database's, whatever their own clocks say.

    It is asked every ten seconds at the most, and in between it goes on with the time since the start of
    the machine, which no one sets. It is behind by what the answer took, and never ahead.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._read_at_s = -_TRUSTED_S
        self._read = datetime.fromtimestamp(0, UTC)

    async def now(self) -> datetime:
        """Raises what the driver raises when the database is not there."""
        since_s = _uptime_s() - self._read_at_s
        if not 0 <= since_s < _TRUSTED_S:
            [row] = await self._lane.fetch("select clock_timestamp()")
            self._read, self._read_at_s, since_s = row[0], _uptime_s(), 0.0
        return self._read + timedelta(seconds=since_s)

    def reckoned(self) -> datetime:
        """The same without asking, however long ago that was: by a second a day it may be wrong.

        Only after `now` has answered once.
        """
        return self._read + timedelta(seconds=_uptime_s() - self._read_at_s)


def _uptime_s() -> float:
    # Not `monotonic`, which stands still while a virtual machine is suspended.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
