"""What time it is for one process: the machine's, and an offset that somebody outside writes into a file.

The services know nothing of it: the rig's launcher puts it under Python's own `time` and `datetime`, in that
process alone. Monotonic time goes on as it is, as it does when somebody sets a machine's clock.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

VARIABLE = "FAULTS_CLOCK"
_LOOK_EVERY_S = 0.05


class Clock:
    """The hand on one process's clock; `variables` is what the process must be started with."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._skew_s = self._jump_s = 0.0
        file.parent.mkdir(parents=True, exist_ok=True)
        self._write()
        self.variables: Mapping[str, str] = {VARIABLE: str(file)}

    def skew(self, offset_s: float) -> None:
        """By so much it is wrong for good."""
        self._skew_s = offset_s
        self._write()

    def jump(self, offset_s: float) -> None:
        """Somebody sets it by so much; 0 sets it right, but for its skew."""
        self._jump_s = offset_s
        self._write()

    def _write(self) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{self._skew_s + self._jump_s}")
        draft.replace(self._file)


def follow_the_clock_that_is_named() -> None:
    """From here on this process has the time that its file says, if the environment names one."""
    if VARIABLE not in os.environ:
        return
    # Not at the top: whoever has only a hand on the clock does not need what is under it.
    from time_machine import travel

    file, set_by_s = Path(os.environ[VARIABLE]), 0.0
    traveller = travel(timedelta(), tick=True).start()
    time.time()  # it begins to tick when it is asked first

    def look() -> None:
        nonlocal set_by_s
        wanted_s = float(file.read_text())
        traveller.shift(wanted_s - set_by_s)
        set_by_s = wanted_s

    def follow() -> None:
        while True:
            look()
            time.sleep(_LOOK_EVERY_S)

    look()
    _stamp_records_by_it()
    threading.Thread(target=follow, name="clock", daemon=True).start()


def _stamp_records_by_it() -> None:
    """The Kafka client's compiled part asks the kernel for the time, past Python."""
    from aiokafka.producer.message_accumulator import BatchBuilder

    append = BatchBuilder.append

    def stamped(batch: Any, *, timestamp: int | None, **record: Any) -> Any:
        return append(batch, timestamp=int(time.time() * 1000) if timestamp is None else timestamp, **record)

    BatchBuilder.append = stamped
