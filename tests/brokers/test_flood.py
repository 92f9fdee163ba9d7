"""Malformed messages of every kind in a stream; `python -m tests.faults.malformed` sends ten thousand."""

from __future__ import annotations

import logging

import pytest

from tests.brokers.place import Place
from tests.faults.malformed import flood

MESSAGES = 400


async def test_each_is_a_dead_letter_as_it_was_and_the_good_ones_go_on(
    kafka_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "shared")
    outcome = await flood(kafka_place, MESSAGES)
    assert outcome.wrong == []
    assert len(outcome.sent) == MESSAGES
    assert len(outcome.delays_s) == MESSAGES // 10
