"""Ids are derived, never random, where a message can be made twice: the same cause gives the same id."""

import uuid

_NAMESPACE = uuid.UUID("5f0c3a52-6f1e-5d0b-9c55-2f3c1f6d8a10")


def derived_id(*parts: object) -> str:
    """A UUID (version 5) that is a pure function of its parts."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(str(part) for part in parts)))


def run_id(command_source: str, command_id: str) -> str:
    """The id of the Run that this RequestPlan opens, for instance `run-1b9d6bcd4f21`."""
    return f"run-{derived_id('run', command_source, command_id).replace('-', '')[-12:]}"
