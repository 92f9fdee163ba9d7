"""Proofs of what only a rebuild reads: one signature for all that a service sends together.

A release that is told to 100,000 Projects would cost as many signatures, and a rebuild as many verifications.
So the messages of one sending are the leaves of a Merkle tree: its root is signed, and each message carries
the signature with its way to the root.

Source of the tree: RFC 6962, section 2.1. Only its last node may stand alone, and is then taken up unchanged.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from shared.contracts import notifications, runs

RECORDED: Final[Mapping[str, str]] = {
    message.type_name(): service
    for service, messages in (
        ("planner", (runs.RunChanged, runs.PlanReady)),
        ("notifier", (notifications.NotificationReady, notifications.NotificationClosed)),
    )
    for message in messages
}
"""The service that signs each of these. Only a rebuild asks for it: no running service reads one."""

TOGETHER_MAX = 64
"""So many messages have one signature: a way has at most six steps."""

_DOMAIN = b"upgradepath-proofs-1\0"
_STEPS_MAX = 16
_HASH = 32
_STEP = 1 + _HASH
_LEFT, _RIGHT = b"\0", b"\1"
"""On which side of the way the other node lies."""


def rooted(statements: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """What is to be signed for all of these, of which there is at least one, and each one's way to it."""
    nodes = [_leaf(statement) for statement in statements]
    ways = [b""] * len(nodes)
    places = list(range(len(nodes)))
    while len(nodes) > 1:
        for number, place in enumerate(places):
            beside = place ^ 1
            if beside < len(nodes):
                ways[number] += (_RIGHT if beside > place else _LEFT) + nodes[beside]
            places[number] = place // 2
        nodes = [_node(nodes[at : at + 2]) for at in range(0, len(nodes), 2)]
    return _DOMAIN + nodes[0], ways


def signed_root(statement: bytes, way: bytes) -> bytes | None:
    """What is signed, if the statement is a leaf with this way; None for what is no way."""
    if len(way) % _STEP or len(way) > _STEPS_MAX * _STEP:
        return None
    node = _leaf(statement)
    for at in range(0, len(way), _STEP):
        side, beside = way[at : at + 1], way[at + 1 : at + _STEP]
        node = _node([beside, node] if side == _LEFT else [node, beside])
    return _DOMAIN + node


def _leaf(statement: bytes) -> bytes:
    return hashlib.sha256(b"\0" + statement).digest()


def _node(pair: Sequence[bytes]) -> bytes:
    return pair[0] if len(pair) == 1 else hashlib.sha256(b"\1" + pair[0] + pair[1]).digest()
