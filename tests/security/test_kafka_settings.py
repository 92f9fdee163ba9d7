"""Kafka's settings: usual names, contradictions refused with the cure, and no secret in what is shown."""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faststream.kafka import KafkaBroker
from pydantic import ValidationError

from shared.contracts.envelope import explain
from shared.messaging.client_arguments import client_arguments, faststream_arguments
from shared.plaintext import is_loopback
from shared.settings import KafkaSettings
from tests.support.authority import Authority

SECRET = "correct-horse"
EVERYWHERE = str(IPv4Address(0))
SCRAM: dict[str, Any] = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "mira", "sasl_password": SECRET}
SASL_SSL: dict[str, Any] = {"security_protocol": "SASL_SSL", **SCRAM}
TOKENS: dict[str, Any] = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
CLIENT = {"sasl_oauthbearer_client_id": "us", "sasl_oauthbearer_client_secret": SECRET}
ENDPOINT = {"sasl_oauthbearer_token_endpoint_url": "https://idp.example/token", **CLIENT}


def refusal(**settings: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        KafkaSettings(**settings)
    assert SECRET not in f"{refused.value!r} {refused.value}"
    return explain(refused.value)


@pytest.mark.parametrize(
    ("settings", "cure"),
    [
        ({"sasl_username": "mira"}, "SECURITY_PROTOCOL is PLAINTEXT: set it to SASL_SSL"),
        (SCRAM, "SECURITY_PROTOCOL is PLAINTEXT: set it to SASL_SSL"),
        ({"ssl_cafile": "ca.pem"}, "SECURITY_PROTOCOL is PLAINTEXT: set it to SASL_SSL or SSL"),
        ({"security_protocol": "SSL", "sasl_mechanism": "PLAIN"}, "SASL_MECHANISM is set, but"),
        ({"security_protocol": "SASL_SSL"}, "set UPGRADES_KAFKA_SASL_MECHANISM to SCRAM-SHA-512"),
        ({**SASL_SSL, "sasl_username": None}, "set UPGRADES_KAFKA_SASL_USERNAME"),
        ({**SASL_SSL, "sasl_password": None}, "set either UPGRADES_KAFKA_SASL_PASSWORD or"),
        ({**SASL_SSL, "sasl_password_file": "x"}, "two are set"),
        ({**SASL_SSL, "sasl_password": ""}, "SASL_PASSWORD is empty"),
        ({**SASL_SSL, "sasl_password": None, "sasl_password_file": "/no/file"}, "which cannot be read"),
        ({**SASL_SSL, **ENDPOINT}, "is for OAUTHBEARER"),
        ({**SCRAM, "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}, "goes over TLS only"),
        ({**TOKENS, **ENDPOINT, "security_protocol": "SASL_PLAINTEXT"}, "goes over TLS only"),
        (TOKENS, "needs one source of tokens"),
        ({**TOKENS, **ENDPOINT, "sasl_oauthbearer_token_file": "x"}, "needs one source of tokens"),
        ({**TOKENS, **ENDPOINT, "sasl_username": "mira"}, "SASL_USERNAME is not for OAUTHBEARER"),
        ({**TOKENS, "sasl_oauthbearer_token_file": "x", **CLIENT}, "which is not set"),
        ({**TOKENS, "sasl_oauthbearer_token_endpoint_url": "ftp://idp", **CLIENT}, "not an https:// URL"),
        ({**TOKENS, **ENDPOINT, "sasl_oauthbearer_client_id": None}, "set UPGRADES_KAFKA_SASL_OAUTHBEARER_C"),
        (
            {**TOKENS, **ENDPOINT, "sasl_oauthbearer_token_endpoint_url": "http://idp.example/token"},
            "idp.example unencrypted: use https://",
        ),
        ({**SASL_SSL, "ssl_cafile": "/no/ca.pem"}, "UPGRADES_KAFKA_SSL_CAFILE names /no/ca.pem"),
        ({**SASL_SSL, "ssl_cafile": __file__}, "certificates of authorities in PEM"),
        ({**SASL_SSL, "ssl_keyfile": "key.pem"}, "set UPGRADES_KAFKA_SSL_CERTFILE"),
        ({**SASL_SSL, "ssl_certfile": __file__}, "a certificate and its private key in PEM"),
        ({**SASL_SSL, "embedded": True}, "embedded broker speaks PLAINTEXT only"),
        ({**SASL_SSL, "sasl_mechanism": "GSSAPI"}, "sasl_mechanism"),
        ({"security_protocol": "TLS"}, "security_protocol"),
    ],
    ids=str,
)
def test_a_contradiction_is_refused_with_its_cure(settings: dict[str, Any], cure: str) -> None:
    assert cure in refusal(**settings)


@pytest.mark.parametrize(
    "servers",
    ["kafka.example:9092", "127.0.0.1:9092,10.0.0.7:9092", "[2001:db8::1]:9092", "kafka", EVERYWHERE],
)
def test_plaintext_beyond_this_machine_is_refused_unless_a_setting_says_so(
    servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refusal(bootstrap_servers=servers)
    for word in ("UPGRADES_KAFKA_BOOTSTRAP_SERVERS", "SASL_SSL", "UPGRADES_ALLOW_PLAINTEXT=true"):
        assert word in said
    assert "unencrypted" in refusal(
        bootstrap_servers=servers, **{**SCRAM, "security_protocol": "SASL_PLAINTEXT"}
    )
    assert KafkaSettings(bootstrap_servers=servers, **SASL_SSL).is_encrypted
    monkeypatch.setenv("UPGRADES_ALLOW_PLAINTEXT", "true")
    assert KafkaSettings(bootstrap_servers=servers).bootstrap_servers == servers


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("LocalHost.", True),
        ("a.localhost", True),
        ("/run/postgresql", True),
        (EVERYWHERE, False),
        ("::", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_its_address(host: str, here: bool) -> None:
    assert is_loopback(host) is here


def test_the_variables_are_those_that_users_of_kafka_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Authority.new().write(tmp_path, "mira")
    (tmp_path / "password").write_text(f"{SECRET}\n")
    for name, value in {
        "BOOTSTRAP_SERVERS": "kafka.example:9093",
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "SCRAM-SHA-256",
        "SASL_USERNAME": "mira",
        "SASL_PASSWORD_FILE": str(tmp_path / "password"),
        "SSL_CAFILE": str(files.ca),
        "SSL_CERTFILE": str(files.certificate),
        "SSL_KEYFILE": str(files.key),
    }.items():
        monkeypatch.setenv(f"UPGRADES_KAFKA_{name}", value)
    arguments = client_arguments(KafkaSettings())
    context = arguments.pop("ssl_context")
    assert context.check_hostname
    assert [entry["subject"] for entry in context.get_ca_certs()] != []
    assert arguments == {
        "bootstrap_servers": "kafka.example:9093",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "mira",
        "sasl_plain_password": SECRET,
    }


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_no_secret_is_in_what_is_printed(mechanism: str) -> None:
    settings = KafkaSettings(**{**SASL_SSL, "sasl_mechanism": mechanism})
    arguments = client_arguments(settings)
    clients = [
        AIOKafkaProducer(**arguments),
        AIOKafkaConsumer(**arguments),
        KafkaBroker(**faststream_arguments(settings), logger=None),
    ]
    shown = " ".join(f"{one!r} {one}" for one in (settings, *clients))
    assert SECRET not in f"{shown} {settings.model_dump()} {settings.model_dump_json()}"


def test_what_is_empty_asks_for_nothing() -> None:
    assert client_arguments(KafkaSettings()) == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "PLAINTEXT",
    }
