"""Durations and moments as people type them: `90s`, `2h`, `3d`; `2026-03-01`, `2026-03-01t12:00:00z`."""

import re
from datetime import UTC, datetime, timedelta

import typer

from shared.clock import utc_now
from shared.contracts.moments import read_moment

_FORM = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(typed: str) -> timedelta | None:
    """The duration, or None when this is not one."""
    found = _FORM.fullmatch(typed)
    return None if found is None else timedelta(**{_UNITS[found["unit"]]: int(found["count"])})


def moment(typed: str) -> datetime:
    """A moment in any form of RFC 3339 or ISO 8601, in UTC unless it says otherwise.

    Raises typer.BadParameter.
    """
    try:
        return read_moment(typed)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(typed.upper())
    except ValueError:
        raise typer.BadParameter(f"{typed!r} is not a moment like 2026-03-01T12:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def moment_or_ago(typed: str) -> datetime:
    """A moment, or one so long ago. Raises typer.BadParameter."""
    ago = duration(typed)
    if ago is not None:
        return utc_now() - ago
    try:
        return moment(typed)
    except typer.BadParameter:
        raise typer.BadParameter(
            f"{typed!r} is neither 90s, 2h or 3d nor a moment like 2026-03-01T12:00"
        ) from None
