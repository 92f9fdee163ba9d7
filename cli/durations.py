"""Durations as people type them: `90s`, `2h`, `3d`."""

import re
from datetime import timedelta

_FORM = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(typed: str) -> timedelta | None:
    """The duration, or None when this is not one."""
    found = _FORM.fullmatch(typed)
    return None if found is None else timedelta(**{_UNITS[found["unit"]]: int(found["count"])})
