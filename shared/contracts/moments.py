"""Moments as others write them."""

import re
from datetime import datetime, timedelta

_RFC_3339 = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt ](?P<minute>\d\d:\d\d):(?P<second>\d\d)(?P<fraction>\.\d+)?"
    r"(?P<zone>[Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


def read_moment(text: str) -> datetime:
    """A moment as RFC 3339 writes it: small letters and leap seconds too. Raises ValueError.

    A leap second is the first one of the next minute, as most clocks take it. Source:
    https://datatracker.ietf.org/doc/html/rfc3339#section-5.6
    """
    found = _RFC_3339.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time with a zone")
    leap = found["second"] == "60"
    second = "59" if leap else found["second"] + (found["fraction"] or "")
    moment = datetime.fromisoformat(f"{found['day']}T{found['minute']}:{second}{found['zone'].upper()}")
    if not leap:
        return moment
    try:
        return moment + timedelta(seconds=1)
    except OverflowError as error:
        raise ValueError(f"{text!r} is after the last year") from error
