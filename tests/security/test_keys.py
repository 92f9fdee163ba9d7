"""Keys: what is written is read again, and nothing that could sign is taken for something that proves."""

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from shared.identity.keys import PublicKeys, SigningKey, UnusableKey, algorithm_of


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def test_a_key_is_the_same_after_it_was_written_and_read() -> None:
    key = SigningKey.new()
    again = SigningKey.load(key.pem())
    public = PublicKeys.load(key.public().jwks())
    public.by_kid[key.kid].verify(again.private.sign(b"x"), b"x")  # type: ignore[call-arg]
    assert again.kid == key.kid
    assert key.pem() not in repr(key)


def test_a_service_key_keeps_the_name_that_it_was_given() -> None:
    key = SigningKey.new("planner")
    assert list(PublicKeys.load(key.public().jwks())) == ["planner"]
    assert SigningKey.load(key.pem(), "planner").kid == "planner"


def test_keys_of_identity_providers_are_read_with_the_one_algorithm_that_they_prove() -> None:
    p256, big = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    ring = PublicKeys.load(_pem(p256) + _pem(big))
    assert sorted(algorithm_of(key) for key in ring.by_kid.values()) == ["ES256", "RS256"]
    assert set(PublicKeys.load(ring.jwks())) == set(ring)


@pytest.mark.parametrize(
    "text",
    [
        "k" * 40,
        json.dumps({"keys": [{"kty": "oct", "k": "aGVsbG8"}]}),
        json.dumps({"keys": "none"}),
        json.dumps({"keys": [7]}),
        json.dumps([]),
        _pem(rsa.generate_private_key(65537, 1024)),
        _pem(ec.generate_private_key(ec.SECP384R1())),
        SigningKey.new().pem(),
        json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA", "d": "AA"}]}),
    ],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(UnusableKey):
        PublicKeys.load(text)


def test_an_old_symmetric_key_is_refused_with_the_way_to_move() -> None:
    with pytest.raises(UnusableKey, match="upgradepath key new"):
        SigningKey.load("k" * 40)
