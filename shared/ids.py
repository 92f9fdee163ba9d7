"""Ids are derived, never random, where a message can be made twice: the same cause gives the same id."""

import hashlib
import uuid

_NAMESPACE = uuid.UUID("5f0c3a52-6f1e-5d0b-9c55-2f3c1f6d8a10").bytes


def derived_id(*parts: object) -> str:
    """A UUID (version 5) that is a pure function of its parts."""
    # What `uuid.uuid5` does, without making a UUID object of it: messages are made by the thousand.
    name = "\x1f".join([str(part) for part in parts]).encode()
    digest = bytearray(hashlib.sha1(_NAMESPACE + name, usedforsecurity=False).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def run_id(command_source: str, command_id: str) -> str:
    """The id of the Run that this RequestPlan opens, for instance `run-1b9d6bcd4f21`."""
    return f"run-{derived_id('run', command_source, command_id).replace('-', '')[-12:]}"
