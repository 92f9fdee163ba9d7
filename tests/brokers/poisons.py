"""Records that are no messages of ours, each kind in its own way."""

from __future__ import annotations

import random
from dataclasses import dataclass

from shared.contracts.releases import PublishRelease
from shared.contracts.runs import RequestPlan
from tests.brokers.place import Wire
from tests.brokers.tiny_service import BUGGY, LIBRARY, publish, wire


@dataclass(frozen=True)
class Poison:
    """A record made from a good one, and a word of the reason for which it is put away."""

    record: Wire
    because: str


def poisons(name: str) -> dict[str, Poison]:
    """Every kind that we know, by what is wrong with it."""
    key, body, good = wire(publish(name, 999), f"{name}/poison")
    headers = dict(good)

    def changed(**values: bytes | None) -> list[tuple[str, bytes | None]]:
        return [*{**headers, **values}.items()]

    without_type = [(header, value) for header, value in good if header != "ce_type"]
    elsewhere = RequestPlan(actor=LIBRARY, project="acme-portal", systems={"auth-system": None})
    buggy = PublishRelease(actor=LIBRARY, system=name, version=BUGGY, package="0" * 64)
    return {
        "bad JSON": Poison((key, b'{"system": ', good), "Invalid JSON"),
        "no JSON at all": Poison((key, b"\xff\xfe", good), "Invalid JSON"),
        "a missing header": Poison((key, body, without_type), "missing headers: ce_type"),
        "a header that is not UTF-8": Poison((key, body, changed(ce_id=b"\xff")), "not UTF-8"),
        "a null header": Poison((key, body, changed(ce_source=None)), "no value"),
        "an unknown type": Poison((key, body, changed(ce_type=b"upgrades.Other.v1")), "unknown ce_type"),
        "another spec version": Poison((key, body, changed(ce_specversion=b"0.3")), "ce_specversion"),
        "a schema error": Poison((key, b'{"system": 1}', good), "system: Input should be a valid string"),
        "no body": Poison((key, None, good), "no body"),
        "no key, no headers": Poison((None, b"1", []), "missing headers"),
        "an id with a NUL": Poison((key, body, changed(ce_id=b"a\x00b")), "header ce_id has a NUL"),
        "a huge body": Poison((key, b'{"x":"' + b"x" * 1_000_000 + b'"}', good), "system: Field required"),
        "a bug in the handler": Poison(wire(buggy, f"{name}/bug"), "RuntimeError: a bug in the handler"),
        "an empty body": Poison((key, b"", good), "Invalid JSON"),
        "a list for an object": Poison((key, b"[]", good), "Input should be an object"),
        "JSON twenty thousand deep": Poison((key, b"[" * 20_000, good), "Invalid JSON"),
        "a hundred thousand values": Poison((key, b"[" * 100_000, good), "more than 30000 values"),
        "the character NUL": Poison((key, b'{"system": "a\\u0000"}', good), "character NUL"),
        "half a surrogate pair": Poison((key, b'{"system": "\\ud800"}', good), "Invalid JSON"),
        "a number that is none": Poison((key, b'{"system": NaN}', good), "system: "),
        "a time that is none": Poison((key, body, changed(ce_time=b"yesterday")), "ce_time is no RFC 3339"),
        "an empty id": Poison((key, body, changed(ce_id=b"")), "missing headers: ce_id"),
        "an id too long for an index": Poison(
            (key, body, changed(ce_id=_noise(9000))), "header ce_id has 9000 bytes"
        ),
        "another service's command": Poison(
            wire(elsewhere, f"{name}/elsewhere"), "belongs on upgrades.run.commands.v1"
        ),
    }


def _noise(size: int) -> bytes:
    """Text that no compression makes short."""
    return random.Random(1).randbytes(size // 2).hex().encode()
