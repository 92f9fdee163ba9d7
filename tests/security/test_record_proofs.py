"""One signature for what is sent together: each message is proven by it alone, and nothing else is."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from shared.contracts.envelope import seal, to_body, to_headers
from shared.identity.proofs import HEADER, ProofRefused
from shared.identity.record_proofs import RECORDED, TOGETHER_MAX, rooted, signed_root
from tests.support.golden_messages import examples
from tests.support.planner_examples import NOON
from tests.support.proofs import PROOFS, signer

RECORDS = {one.type_name(): one for one in examples().values() if one.type_name() in RECORDED}


def _sent(kind: str, number: int) -> list[tuple[str, bytes, Any]]:
    """As many messages of this type, each with an id of its own, with their headers as they leave."""
    message, service = RECORDS[kind], RECORDED[kind]
    plain = [*to_headers(seal(message, source=f"/upgrades/{service}", now=NOON))]
    own = [[*plain, ("ce_ordinal", b"%d" % each)] for each in range(number)]
    wires = [(message.topic.name, to_body(message), headers) for headers in own]
    signed = signer(service).all_signed(wires)
    return [(topic, body, headers) for (topic, body, _), headers in zip(wires, signed, strict=True)]


def _check(topic: str, body: bytes, headers: Any) -> None:
    PROOFS.check_record(topic, {name: value.decode() for name, value in headers if name[:3] == "ce_"}, body)


@pytest.mark.parametrize("number", [1, 2, 3, 5, TOGETHER_MAX, 2 * TOGETHER_MAX + 7])
def test_each_of_those_sent_together_is_proven(number: int) -> None:
    sent = _sent("upgrades.RunChanged.v1", number)
    for topic, body, headers in sent:
        _check(topic, body, headers)
        assert len(dict(headers)[HEADER]) < 512, "a header of the envelope has at most 1024 bytes"
    signatures = {dict(headers)[HEADER].split(b":")[1] for _, _, headers in sent}
    assert len(signatures) == -(-number // TOGETHER_MAX)


@pytest.mark.parametrize("kind", RECORDS)
def test_nothing_else_is_proven_by_it(kind: str) -> None:
    sent = _sent(kind, 5)
    (topic, body, headers), (_, _, others) = sent[1], sent[2]
    proof, other = dict(headers)[HEADER], dict(others)[HEADER]
    kid, signature, way = proof.split(b":")
    steps = base64.urlsafe_b64decode(way + b"=" * (-len(way) % 4))

    def coded(changed: bytes) -> bytes:
        return base64.urlsafe_b64encode(changed).rstrip(b"=")

    plain = [pair for pair in headers if pair[0] != HEADER]
    for wrong in (
        other,
        b":".join((kid, signature)),
        b":".join((kid, signature, b"")),
        b":".join((kid, signature, coded(steps[33:]))),
        b":".join((kid, signature, coded(steps + steps[:33]))),
        b":".join((kid, signature, coded(bytes([steps[0] ^ 1]) + steps[1:]))),
        b":".join((kid, signature, coded(b"\0" * 33 * 40))),
        b":".join((kid, signature, way, b"")),
    ):
        with pytest.raises(ProofRefused):
            _check(topic, body, [*plain, (HEADER, wrong)])
    with pytest.raises(ProofRefused, match="altered"):
        _check(topic, body + b" ", headers)
    with pytest.raises(ProofRefused, match="altered"):
        _check("upgrades.elsewhere.events.v1", body, headers)
    with pytest.raises(ProofRefused, match="altered"):
        _check(topic, body, [*headers, ("ce_causationid", b"x")])


def test_a_node_of_the_tree_is_no_leaf() -> None:
    """Else whoever has two messages could say that their digests together are a third."""
    statements = [b"one", b"two", b"three", b"four"]
    root, ways = rooted(statements)
    assert [signed_root(one, way) for one, way in zip(statements, ways, strict=True)] == [root] * 4
    inner = b"\1" + ways[1][1:33] + ways[0][1:33]
    assert signed_root(inner, ways[0][33:]) != root
    assert signed_root(b"one", ways[0][:-1]) is None
