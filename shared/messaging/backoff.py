"""Waiting between tries: longer each time, never in step with others that wait for the same."""

import random
from collections.abc import Iterator


def delays_s(first_s: float = 0.1, longest_s: float = 1.0) -> Iterator[float]:
    """Seconds to wait before the next try, doubling up to `longest_s`, each cut at random.

    A broker or a database that is back is found within `longest_s`: to ask it once a second costs it nothing.
    """
    delay_s = first_s
    while True:
        yield delay_s * random.uniform(0.5, 1.0)
        delay_s = min(delay_s * 2, longest_s)
