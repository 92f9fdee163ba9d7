"""Tokens that prove nothing get in by no door: not over HTTP, and not on a topic."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from shared.clock import utc_now
from shared.contracts.envelope import Envelope, receive, to_body, to_headers
from shared.contracts.runs import RequestPlan
from shared.contracts.values import Actor
from shared.http import problems
from shared.http.tokens import WhoAsks
from shared.identity.keys import PublicKeys, SigningKey
from shared.identity.revoked import RevokedTokens
from shared.identity.tokens import InvalidToken, TokenVerifier, issue_token
from shared.messaging.people import People, Unproven
from tests.messaging.counting import Kept
from tests.security.token_attacks import (
    ATTACKS,
    EDDSA,
    MIRA,
    P256,
    RSA,
    TRUSTED,
    VERIFIER,
    Attack,
    claims,
    signed,
)
from tests.support.keys import KEY, PUBLIC_KEYS

ACTOR = Actor.model_validate({"id": MIRA["sub"], "role": MIRA["role"], "projects": MIRA["projects"]})
each_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)


@each_attack
def test_it_proves_nobody(attack: Attack) -> None:
    token = attack.make()
    with pytest.raises(InvalidToken, match=attack.because) as refused:
        VERIFIER.verify(token)
    signature = token.rpartition(".")[2]
    assert len(signature) < 20 or signature not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_there_are_enough_of_them() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 40


@pytest.fixture
async def door() -> Any:
    app = FastAPI()
    app.state.tokens = VERIFIER
    problems.install(app)

    @app.get("/me")
    async def me(who: WhoAsks) -> dict[str, str]:
        return {"id": who.id, "role": who.role}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://door") as client:
        yield client


@each_attack
async def test_over_http_it_is_answered_401_with_the_reason(attack: Attack, door: httpx.AsyncClient) -> None:
    token = attack.make()
    answer = await door.get("/me", headers=[(b"Authorization", b"Bearer " + token.encode())])
    assert answer.status_code == 401, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"


@each_attack
def test_on_a_topic_it_is_refused_as_forbidden(attack: Attack) -> None:
    record = _record(attack.make())
    with pytest.raises(Unproven) as refused:
        People(VERIFIER).prove(record, receive(record.headers, record.value))
    [refusal] = refused.value.refusals
    assert (refusal.kind, refusal.field) == ("forbidden", "ce_authorization")
    assert refused.value.received.token is None


@pytest.mark.parametrize(
    "token",
    [
        lambda: signed(claims()),
        lambda: signed(claims(), {"kid": None}),
        lambda: signed(claims(), {"typ": None}),
        lambda: signed(claims(), {"typ": "at+jwt"}),
        lambda: signed(claims(), {"kid": "p256"}, P256, "ES256"),
        lambda: signed(claims(), {"kid": "rsa"}, RSA, "RS256"),
        lambda: signed(claims(aud=["another", "upgradepath"], iss="https://idp.example", jti="7")),
        lambda: signed(claims(iat=time.time(), nbf=time.time(), exp=time.time() + 60.5)),
        lambda: signed(claims(iat=time.time() + 5)),
    ],
)
async def test_a_good_token_is_taken_by_both_doors(token: Any, door: httpx.AsyncClient) -> None:
    """What would refuse these would lock people out: it keeps the attacks above honest."""
    text = token()
    answer = await door.get("/me", headers={"Authorization": f"Bearer {text}"})
    assert answer.json() == {"id": ACTOR.id, "role": ACTOR.role}
    record = _record(text)
    proven = People(VERIFIER).prove(record, receive(record.headers, record.value))
    assert isinstance(proven.message, RequestPlan)
    assert proven.message.actor == ACTOR
    assert proven.envelope.source == "/topic/mira@acme.example//innopo-platform"
    assert proven.token is None


def test_a_token_that_is_remembered_ends_all_the_same() -> None:
    """A cache that kept the verdict instead of the claims would let it live on."""
    token, now = signed(claims(exp=time.time() + 100)), utc_now()
    for _ in range(2):
        assert VERIFIER.verify(token) == ACTOR
    with pytest.raises(InvalidToken, match="expired"):
        VERIFIER.verify(token, at=now + timedelta(seconds=101))
    assert VERIFIER.verify(token, at=now) == ACTOR


def test_a_key_that_is_no_longer_trusted_proves_nothing() -> None:
    old, new = SigningKey.new("2026"), SigningKey.new("2027")
    token = signed(claims(), {"kid": "2026"}, old.private)
    assert TokenVerifier(old.public() | new.public()).verify(token) == ACTOR
    with pytest.raises(InvalidToken, match="does not trust"):
        TokenVerifier(new.public()).verify(token)


def test_with_many_keys_a_token_must_name_its_own() -> None:
    """Each key that is tried costs a tenth of a millisecond, and nobody has proven anything yet."""
    keys = [SigningKey.new(f"key-{number}") for number in range(9)]
    many = TokenVerifier(PublicKeys({key.kid: key.private.public_key() for key in keys}))
    named = signed(claims(), {"kid": "key-8"}, keys[8].private)
    assert many.verify(named) == ACTOR
    with pytest.raises(InvalidToken, match="give it a `kid`"):
        many.verify(signed(claims(), {"kid": None}, keys[8].private))


async def test_a_token_of_one_service_is_nothing_to_the_others(door: httpx.AsyncClient) -> None:
    """Would catch a service that lets whoever runs it speak for its users at another."""
    for service, status in (("me", 200), ("planner", 401)):
        token = signed(claims(aud=f"upgradepath/{service}"))
        answer = await door.get("/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == status, answer.text
    planners = issue_token(ACTOR, KEY, service="planner")
    verifier = TokenVerifier(PUBLIC_KEYS)
    assert verifier.verify(planners, service="planner") == ACTOR
    for other in ("registry", "planner2", None):
        with pytest.raises(InvalidToken, match="another audience"):
            verifier.verify(planners, service=other)
    record = _record(planners)
    received = receive(record.headers, record.value)
    assert People(verifier, service="planner").prove(record, received).token is None
    with pytest.raises(Unproven, match="another audience"):
        People(verifier, service="registry").prove(record, received)


def test_a_revoked_token_is_refused_from_the_moment_it_stands_in_the_file(tmp_path: Path) -> None:
    """Would catch a list that is read once, or not at all, and one that an empty file switches off."""
    listed = tmp_path / "revoked"
    listed.write_text("# of 2026\n")
    verifier = TokenVerifier(TRUSTED, RevokedTokens(listed))
    lost, other = signed(claims(jti="lost-1")), signed(claims(jti="lost-12"))
    assert verifier.verify(lost) == verifier.verify(other) == ACTOR
    listed.write_text("# of 2026\n  lost-1  \r\n")
    with pytest.raises(InvalidToken, match="revoked"):
        verifier.verify(lost)
    assert verifier.verify(other) == ACTOR
    listed.unlink()
    with pytest.raises(InvalidToken, match="revoked"):
        verifier.verify(lost)
    with pytest.raises(FileNotFoundError):
        RevokedTokens(listed)


# --- the broker's clock --------------------------------------------------------------------------


def test_a_token_that_had_not_ended_when_the_broker_took_it_is_good_years_later() -> None:
    sent = datetime(2020, 1, 1, tzinfo=UTC)
    record = _record(signed(claims(exp=sent.timestamp() + 60)), sent, by_broker=True)
    assert People(VERIFIER).prove(record, receive(record.headers, record.value)).message.actor == ACTOR  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "case", ["ended before", "the sender's date", "a broker whose dates nobody can believe"]
)
def test_a_token_that_has_ended_is_not_made_good_by_the_senders_own_date(case: str) -> None:
    sent = datetime(2020, 1, 1, tzinfo=UTC)
    end = -1 if case == "ended before" else 60
    record = _record(signed(claims(exp=sent.timestamp() + end)), sent, by_broker=case != "the sender's date")
    people = People(VERIFIER, broker_dates="nobody" not in case)
    with pytest.raises(Unproven, match="expired"):
        people.prove(record, receive(record.headers, record.value))


def _record(token: str, at: datetime | None = None, *, by_broker: bool = False) -> Kept:
    command = RequestPlan(actor=ACTOR, project="acme-portal", systems={"auth-system": None})
    envelope = Envelope("1", "/innopo-platform", command.type_name(), command.key(), utc_now())
    headers = [*to_headers(envelope), ("ce_authorization", token.encode())]
    moment = int((at or utc_now()).timestamp() * 1000)
    return Kept(b"acme-portal", to_body(command), headers, 0, timestamp=moment, timestamp_type=int(by_broker))


def test_the_examples_of_the_attacks_differ_from_a_good_token() -> None:
    """The helper that signs them makes a token that is right where nothing is changed."""
    assert VERIFIER.verify(signed(claims())) == ACTOR
    assert json.loads(EDDSA.public().jwks())["keys"][0]["kid"] == "people"
