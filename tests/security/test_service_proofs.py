"""What services tell each other is proven: each message that gives authority, and each way to lack the proof.

Were any of these to pass, whoever can write to a topic would decide for everybody.
"""

from __future__ import annotations

import base64
import hashlib
import tracemalloc
from pathlib import Path

import pytest

from shared.contracts.catalogue import BY_TYPE
from shared.contracts.envelope import Envelope, Received, receive, seal, to_body, to_headers
from shared.contracts.refusals import CommandRefused
from shared.contracts.stages import BackupDeleted, StageBegun, StageFinished
from shared.contracts.topics import EXECUTOR_COMMANDS, RUN_EVENTS, VERSION_MAP_EVENTS, Topic
from shared.contracts.values import Command, Message
from shared.identity.keys import PublicKeys, SigningKey, UnusableKey
from shared.identity.proofs import HEADER, SIGNED, ProofRefused, Signer, Verifier, named
from shared.identity.service_keys import ServiceKeys
from tests.support.golden_messages import examples
from tests.support.planner_examples import NOON
from tests.support.proofs import KEYS, PRINCIPALS, PROOFS, PUBLIC_KEYS, sender_of, signed, signer

NEED_PROOF = {name: message for name, message in examples().items() if message.type_name() in SIGNED}
BY_PEOPLE = {
    name: message
    for name, message in examples().items()
    if isinstance(message, Command) and message.type_name() not in SIGNED
}
ELSEWHERE = Topic("upgrades.elsewhere.events.v1", "project", 1)


def _topic(message: Message) -> Topic:
    return VERSION_MAP_EVENTS if isinstance(message, CommandRefused) else message.topic


def _sender(message: Message) -> str:
    sender = sender_of(message)
    assert sender is not None
    return sender


def _envelope(message: Message, source: str) -> Envelope:
    return seal(message, source=source, now=NOON)


def _read(headers: object, body: bytes, topic: Topic) -> Received:
    return PROOFS.check(receive(headers, body), topic.name)  # type: ignore[arg-type]


def _as_sent(message: Message, principal: str | None = None, source: str | None = None) -> tuple[bytes, list]:  # type: ignore[type-arg]
    principal = principal or _sender(message)
    body = to_body(message)
    headers = to_headers(_envelope(message, source or f"/upgrades/{principal}"))
    key = Signer(principal, KEYS[principal])
    attributes = list(key.signed(_topic(message).name, body, headers))
    return body, attributes


@pytest.mark.parametrize("name", NEED_PROOF)
def test_what_its_sender_signed_is_believed_however_often_it_comes(name: str) -> None:
    message = NEED_PROOF[name]
    body, headers = _as_sent(message)
    for _ in range(2):
        assert _read(headers, body, _topic(message)).envelope.proven_by == _sender(message)


@pytest.mark.parametrize("name", NEED_PROOF)
def test_without_its_proof_it_is_refused(name: str) -> None:
    message = NEED_PROOF[name]
    body, headers = _as_sent(message)
    stripped = [pair for pair in headers if pair[0] != HEADER]
    with pytest.raises(ProofRefused, match="has no ce_proof"):
        _read(stripped, body, _topic(message))


@pytest.mark.parametrize("name", NEED_PROOF)
def test_a_key_of_nobody_proves_nothing(name: str) -> None:
    message = NEED_PROOF[name]
    sender, topic = _sender(message), _topic(message)
    body = to_body(message)
    headers = to_headers(_envelope(message, f"/upgrades/{sender}"))
    for forger in (Signer(sender, SigningKey.new(sender)), Signer(sender, SigningKey.new("nobody"))):
        with pytest.raises(ProofRefused):
            _read(forger.signed(topic.name, body, headers), body, topic)


@pytest.mark.parametrize("name", NEED_PROOF)
def test_another_services_key_proves_another_service(name: str) -> None:
    message = NEED_PROOF[name]
    topic, body = _topic(message), to_body(message)
    workers = {"executor", "validator"} if isinstance(message, StageBegun | StageFinished) else set()
    if isinstance(message, BackupDeleted):
        # A pool's executor, too: the planner knows whose it must be.
        workers = {"executor"}
    for principal in PRINCIPALS:
        service = principal.partition(".")[0]
        rightful = service in workers if workers else principal == _sender(message)
        if rightful:
            continue
        for source in (principal, _sender(message)):
            headers = to_headers(_envelope(message, f"/upgrades/{source}"))
            forged = _signed_anyway(principal, topic, body, headers)
            with pytest.raises(ProofRefused, match="may not send"):
                _read(forged, body, topic)


@pytest.mark.parametrize("name", NEED_PROOF)
def test_a_proof_counts_on_its_topic_alone(name: str) -> None:
    message = NEED_PROOF[name]
    body, headers = _as_sent(message)
    with pytest.raises(ProofRefused):
        _read(headers, body, ELSEWHERE)


@pytest.mark.parametrize("name", NEED_PROOF)
def test_nothing_that_was_signed_can_be_altered(name: str) -> None:
    message = NEED_PROOF[name]
    body, headers = _as_sent(message)
    altered_body = body.replace(b":", b": ", 1)
    assert altered_body != body
    with pytest.raises(ProofRefused, match="altered"):
        _read(headers, altered_body, _topic(message))
    for number, (header, value) in enumerate(headers):
        if header in {HEADER, "ce_type", "ce_specversion"} or not header.startswith("ce_"):
            continue
        other = b"2027-01-01T00:00:00+00:00" if header == "ce_time" else value + b"x"
        changed = [*headers[:number], (header, other), *headers[number + 1 :]]
        with pytest.raises(ProofRefused):
            _read(changed, body, _topic(message))
    with pytest.raises(ProofRefused, match="altered"):
        _read([*headers, ("ce_causationid", b"another's")], body, _topic(message))
    # Said twice, the last one counts: neither order gets past.
    subject = next(pair for pair in headers if pair[0] == "ce_subject")
    with pytest.raises(ProofRefused):
        _read([*headers, ("ce_subject", b"another")], body, _topic(message))
    with pytest.raises(ProofRefused):
        _read(
            [subject, *(p for p in headers if p != subject), ("ce_subject", b"another")],
            body,
            _topic(message),
        )


def test_the_proof_of_another_message_proves_nothing() -> None:
    messages = list(NEED_PROOF.values())
    for one, other in zip(messages, messages[1:] + messages[:1], strict=True):
        body, headers = _as_sent(one)
        _, others = _as_sent(other)
        borrowed = next(value for header, value in others if header == HEADER)
        swapped = [pair for pair in headers if pair[0] != HEADER] + [(HEADER, borrowed)]
        if one == other:
            continue  # the same message twice among the examples
        with pytest.raises(ProofRefused):
            _read(swapped, body, _topic(one))


@pytest.mark.parametrize(
    "proof",
    ["", ":", "planner", "planner:", ":AAAA", "planner:AAAA", "planner:" + "A" * 86, "planner:ü", "x" * 1024],
)
def test_a_proof_of_any_form_is_read_without_harm(proof: str) -> None:
    message = NEED_PROOF["RunExecutorStage.v1.json"]
    body = to_body(message)
    headers = [*to_headers(_envelope(message, "/upgrades/planner")), (HEADER, proof.encode())]
    with pytest.raises(ProofRefused):
        _read(headers, body, EXECUTOR_COMMANDS)


def test_what_nobody_proves_takes_no_memory() -> None:
    """Would catch a verifier that remembers every message that anybody makes up."""
    message = NEED_PROOF["RunExecutorStage.v1.json"]
    body = to_body(message)
    more = [(f"ce_x{number}", b"x" * 1024) for number in range(40)]
    tracemalloc.start()
    for number in range(200):
        proof = f"planner:{number:086}".encode()
        headers = [*to_headers(_envelope(message, "/upgrades/planner")), *more, (HEADER, proof)]
        with pytest.raises(ProofRefused):
            _read(headers, body, EXECUTOR_COMMANDS)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1 << 20, "two hundred such messages have eight MiB"


@pytest.mark.parametrize("name", NEED_PROOF)
def test_nobody_uses_up_the_ids_of_another(name: str) -> None:
    """With the source of A, a message of B's own would stand in the inbox where A's is to stand."""
    message = NEED_PROOF[name]
    for source in (
        "/upgrades/notifier",
        "/upgrades/executor.globex",
        "/http/mira@acme.example",
        "/journeys/1",
    ):
        body, headers = _as_sent(message, source=source)
        with pytest.raises(ProofRefused, match="its source is"):
            _read(headers, body, _topic(message))


@pytest.mark.parametrize("name", BY_PEOPLE)
def test_a_persons_command_does_not_come_from_a_service(name: str) -> None:
    message = BY_PEOPLE[name]
    headers = to_headers(_envelope(message, "/upgrades/executor"))
    with pytest.raises(ProofRefused, match="a person's command has another"):
        _read(headers, to_body(message), message.topic)


def test_a_refusal_is_proven_by_whoever_answers_on_that_topic() -> None:
    """A forged no of the registry would let a Run wait for its maintainer."""
    message = examples()["CommandRefused.v1.json"]
    body = to_body(message)
    for topic, right, wrong in (
        (VERSION_MAP_EVENTS, "registry", "planner"),
        (RUN_EVENTS, "planner", "registry"),
    ):
        headers = to_headers(_envelope(message, f"/upgrades/{right}"))
        assert _read(signed(right, topic, body, headers), body, topic).envelope.proven_by == right
        forged = _signed_anyway(wrong, topic, body, to_headers(_envelope(message, f"/upgrades/{wrong}")))
        with pytest.raises(ProofRefused, match="may not send"):
            _read(forged, body, topic)


def test_a_dead_letter_is_never_signed() -> None:
    """What it carries is a stranger's: with a proof it could be sent to where it would be believed."""
    message = NEED_PROOF["RunExecutorStage.v1.json"]
    headers = to_headers(_envelope(message, "/upgrades/planner"))
    for topic in ("upgrades.planner.dead.v1", "upgrades.executor.acme.dead.v1"):
        assert signer("planner").signed(topic, to_body(message), headers) == headers


def test_every_message_is_a_persons_or_signed_or_gives_nobody_authority() -> None:
    """A new message does not slip through: whoever adds one decides."""
    read_by_people_alone = {"RunChanged", "PlanReady", "NotificationReady", "NotificationClosed"}
    unsigned = {kind for kind in BY_TYPE.values() if kind.type_name() not in SIGNED}
    assert {kind.__name__ for kind in unsigned if not issubclass(kind, Command)} == read_by_people_alone
    assert {type(message) for message in NEED_PROOF.values()} == {BY_TYPE[name] for name in SIGNED}


def test_while_keys_are_changed_both_prove_their_principal() -> None:
    new = SigningKey.new("planner#2027")
    both = Verifier(PUBLIC_KEYS | new.public())
    message = NEED_PROOF["HoldDeploys.v1.json"]
    body, headers = to_body(message), to_headers(_envelope(message, "/upgrades/planner"))
    for key in (KEYS["planner"], new):
        proven = Signer("planner", key).signed(EXECUTOR_COMMANDS.name, body, headers)
        assert both.check(receive(proven, body), EXECUTOR_COMMANDS.name).envelope.proven_by == "planner"


def test_a_key_must_be_known_under_its_principal() -> None:
    assert named(SigningKey("?", KEYS["planner"].private), "planner", PUBLIC_KEYS).key.kid == "planner"
    for key, principal in (
        (SigningKey.new(), "planner"),
        (KEYS["registry"], "planner"),
        (KEYS["executor"], "executor.acme"),
    ):
        with pytest.raises(UnusableKey, match=f"not the key of {principal}"):
            named(key, principal, PUBLIC_KEYS)


@pytest.mark.parametrize(
    "kid", ["mira", "planner.acme", "executor.", "executor.Acme", "executor.a.b", "", "planner #1"]
)
def test_public_keys_are_those_of_services(kid: str) -> None:
    with pytest.raises(UnusableKey, match="key new"):
        Verifier(PublicKeys({kid: KEYS["planner"].private.public_key()}))


def test_a_service_without_its_keys_says_what_to_do(tmp_path: Path) -> None:
    public = PUBLIC_KEYS.jwks()
    for service in ("registry", "planner", "executor", "validator", "executor.acme"):
        with pytest.raises(
            UnusableKey, match=f"UPGRADES_SERVICE_KEY is not set.*key new --service {service}"
        ):
            ServiceKeys.load(service, None, public)
        with pytest.raises(UnusableKey, match=r"UPGRADES_SERVICE_PUBLIC_KEYS is not set.*key new"):
            ServiceKeys.load(service, KEYS[service].pem(), None)
        with pytest.raises(UnusableKey, match="No such file"):
            ServiceKeys.load(service, str(tmp_path / "nothing.pem"), public)
    with pytest.raises(UnusableKey, match=r"UPGRADES_SERVICE_PUBLIC_KEYS: .*private key"):
        ServiceKeys.load("planner", KEYS["planner"].pem(), '{"keys": [{"kty": "OKP", "d": "x"}]}')
    with pytest.raises(UnusableKey, match=r"UPGRADES_SERVICE_KEY is not set.*--service notifier"):
        ServiceKeys.load("notifier", None, public)


def test_keys_come_as_text_as_files_and_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "planner.pem").write_text(KEYS["planner"].pem())
    (tmp_path / "services.json").write_text(PUBLIC_KEYS.jwks())
    for key in (KEYS["planner"].pem(), str(tmp_path / "planner.pem"), str(tmp_path)):
        for public in (PUBLIC_KEYS.jwks(), str(tmp_path / "services.json")):
            loaded = ServiceKeys.load("planner", key, public)
            assert loaded.signer is not None
            assert loaded.signer.key.kid == "planner"


def _signed_anyway(
    principal: str, topic: Topic, body: bytes, headers: object
) -> list[tuple[str, bytes | None]]:
    """As a service would that does not care what it may sign."""
    from shared.identity import proofs

    attributes = {name: value.decode() for name, value in headers if name.startswith("ce_")}  # type: ignore[attr-defined]
    statement = proofs._statement(topic.name, attributes, hashlib.sha256(body).hexdigest())
    proof = f"{principal}:{base64.urlsafe_b64encode(KEYS[principal].private.sign(statement)).decode()}"
    return [*headers, (HEADER, proof.encode())]  # type: ignore[misc]
