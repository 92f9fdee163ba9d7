"""OAUTHBEARER: a token from a file or from an endpoint lets in, and any other token does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from cryptography.hazmat.primitives.asymmetric import ec

from services.access import default_principal
from shared.messaging.client_arguments import faststream_arguments
from shared.messaging.connection_faults import broker_fault
from shared.messaging.topic_admin import partition_counts
from shared.settings import KafkaSettings
from tests.security.test_kafka_access import NAMES, documented
from tests.support.broker_rights import rights
from tests.support.secured_kafka import SecuredKafka
from tests.support.token_endpoint import TokenEndpoint, bearer

SECRET = "client-secret"
REGISTRY = default_principal("registry").removeprefix("User:")


def settings(kafka: SecuredKafka, **source: Any) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=kafka.bootstrap_servers,
        security_protocol="SASL_SSL",
        sasl_mechanism="OAUTHBEARER",
        ssl_cafile=kafka.ca,
        **source,
    )


async def test_a_token_in_a_file_is_read_anew_for_each_connection(
    secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(bearer(REGISTRY) + "\n")
    with_file = settings(secured_kafka, sasl_oauthbearer_token_file=file)
    assert await rights(with_file, NAMES) == documented()["registry"]
    assert "sasl_oauth_token_provider" in faststream_arguments(with_file)
    file.write_text(bearer(default_principal("validator").removeprefix("User:")))
    assert await rights(with_file, NAMES) == documented()["validator"]
    file.unlink()
    said = str(await broker_fault(with_file))
    assert "UPGRADES_KAFKA_SASL_OAUTHBEARER_TOKEN_FILE" in said


@pytest.mark.parametrize(
    "token",
    [
        bearer(REGISTRY, good_for_s=-60),
        bearer(REGISTRY, audience="others"),
        bearer(REGISTRY, key=ec.generate_private_key(ec.SECP256R1())),
        "none",
    ],
    ids=["expired", "for others", "signed by others", "no token"],
)
async def test_another_token_does_not_let_in(secured_kafka: SecuredKafka, tmp_path: Path, token: str) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    with_file = settings(secured_kafka, sasl_oauthbearer_token_file=file)
    said = str(await broker_fault(with_file))
    assert "bearer token" in said
    assert token not in said or token == "none"
    with pytest.raises(KafkaConnectionError):
        await partition_counts(with_file, NAMES)


async def test_an_endpoint_gives_a_token_for_the_clients_own_secret(secured_kafka: SecuredKafka) -> None:
    with TokenEndpoint(SECRET).running() as endpoint:
        asked: dict[str, Any] = {
            "sasl_oauthbearer_token_endpoint_url": endpoint.url,
            "sasl_oauthbearer_client_id": REGISTRY,
            "sasl_oauthbearer_scope": "kafka",
        }
        right = settings(secured_kafka, **asked, sasl_oauthbearer_client_secret=SECRET)
        assert await rights(right, NAMES) == documented()["registry"]
        assert endpoint.asked[0] == {"grant_type": ["client_credentials"], "scope": ["kafka"]}
        wrong = settings(secured_kafka, **asked, sasl_oauthbearer_client_secret="guess")
        said = str(await broker_fault(wrong))
        assert "answered 401" in said
        assert "guess" not in said
