"""The inbox of a rebuilt database has each cause once, with the answer that one of its events tells."""

from __future__ import annotations

import json

import pytest

from services.restorers import restorer
from shared.messaging.inbox import Verdict
from shared.replay.causes import Causes
from shared.replay.restorer import NO_ANSWER
from shared.replay.told import Told

HTTP, TOPIC = "/http/mira", "/upgrades/planner"


def told(name: str, cause: str, source: str, body: bytes = b"{}") -> Told:
    headers = {
        "ce_id": b"1",
        "ce_source": b"/upgrades/registry",
        "ce_type": f"upgrades.{name}.v1".encode(),
        "ce_subject": b"acme-portal",
        "ce_time": b"2026-03-01T12:00:00Z",
        "ce_causationsource": source.encode(),
        "ce_causationid": cause.encode(),
        "ce_causationdigest": b"f",
    }
    return Told("upgrades.project.events.v1", 0, 0, body, headers.items())


@pytest.mark.parametrize("answer_first", [True, False])
def test_a_new_project_is_answered_by_its_registration(answer_first: bool) -> None:
    """Its first version map has the same cause, and lies on another topic: any of them may be read first."""
    causes = Causes(restorer("registry", "memory:///"))
    events = [told("ProjectRegistered", "1", HTTP, b'{"answer":1}'), told("VersionMapRecorded", "1", HTTP)]
    rows = [row for event in (events if answer_first else events[::-1]) for row in causes.rows([event])]
    assert [row[:3] for row in rows] == [(HTTP, "1", "f")]
    assert Verdict.load(json.loads(rows[0][3])).answer == {"answer": 1}
    assert causes.rest() == []


def test_what_no_event_answers_is_there_in_the_end() -> None:
    causes = Causes(restorer("registry", "memory:///"))
    assert causes.rows([told("VersionMapRecorded", "1", HTTP)] * 2) == []
    assert causes.rest() == [(HTTP, "1", "f", NO_ANSWER)]


def test_a_cause_of_many_events_is_one_row() -> None:
    causes = Causes(restorer("notifier", "memory:///"))
    many = [told("NotificationReady", "1", TOPIC) for _ in range(1000)]
    assert causes.rows(many) + causes.rows(many) + causes.rest() == [(TOPIC, "1", "f", NO_ANSWER)]
