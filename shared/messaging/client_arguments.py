"""From the settings to the arguments of a Kafka client: the one place, for every client of ours."""

import asyncio
import time
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError
from faststream.security import (
    BaseSecurity,
    SASLOAuthBearer,
    SASLPlaintext,
    SASLScram256,
    SASLScram512,
)

from shared.kafka_security import KafkaSecurity, context_trusting, name_of
from shared.messaging.closing_connections import close_in_time
from shared.messaging.refused_tokens import notice_refused_tokens

_ENDPOINT_WITHIN_S = 10.0
_RENEW_AT = 0.8
"""Of its life a token is used so far: a connection that begins with it is to be let in."""
_LIFE_S = 60.0
"""Of a token whose endpoint does not say how long it is good."""


class NoToken(KafkaError):  # type: ignore[misc]  # aiokafka tells no types
    """No bearer token for the broker; the sentence says why, without a secret."""


def client_arguments(settings: KafkaSecurity) -> dict[str, Any]:
    """Where the broker is and how to be let in, as aiokafka's clients take it.

    Secrets and certificates are read from their files now. Raises ValueError when one cannot be.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
    }
    if settings.is_encrypted:
        close_in_time()
        arguments["ssl_context"] = settings.ssl_context()
    if settings.is_sasl:
        arguments["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism == "OAUTHBEARER":
            arguments["sasl_oauth_token_provider"] = _tokens(settings)
        else:
            arguments["sasl_plain_username"] = settings.sasl_username
            arguments["sasl_plain_password"] = settings.password()
    return arguments


def faststream_arguments(settings: KafkaSecurity) -> dict[str, Any]:
    """The same for FastStream's broker, which has classes of its own for it."""
    arguments: dict[str, Any] = {"bootstrap_servers": settings.bootstrap_servers}
    if settings.security_protocol != "PLAINTEXT":
        arguments["security"] = _security(settings)
    if settings.sasl_mechanism == "OAUTHBEARER":
        arguments["sasl_oauth_token_provider"] = _tokens(settings)
    return arguments


def _security(settings: KafkaSecurity) -> BaseSecurity:
    tls: dict[str, Any] = {"use_ssl": settings.is_encrypted}
    if settings.is_encrypted:
        close_in_time()
        tls["ssl_context"] = settings.ssl_context()
    match settings.sasl_mechanism:
        case None:
            return BaseSecurity(**tls)
        case "OAUTHBEARER":
            return SASLOAuthBearer(**tls)
        case "PLAIN":
            return SASLPlaintext(settings.sasl_username or "", settings.password(), **tls)
        case "SCRAM-SHA-256":
            return SASLScram256(settings.sasl_username or "", settings.password(), **tls)
        case "SCRAM-SHA-512":
            return SASLScram512(settings.sasl_username or "", settings.password(), **tls)


def _tokens(settings: KafkaSecurity) -> AbstractTokenProvider:
    notice_refused_tokens()
    return _File(settings) if settings.sasl_oauthbearer_token_file is not None else _Endpoint(settings)


class _File(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka tells no types
    """A token that somebody else renews: each connection takes what is in the file then."""

    def __init__(self, settings: KafkaSecurity) -> None:
        self._settings = settings

    async def token(self) -> str:
        """Raises `NoToken`."""
        try:
            return (await asyncio.to_thread(self._settings.token)).strip()
        except ValueError as error:
            raise NoToken(str(error)) from None


class _Endpoint(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka tells no types
    """A token of the client's own, by OAuth 2.0's client credentials (RFC 6749, section 4.4)."""

    def __init__(self, settings: KafkaSecurity) -> None:
        self._settings = settings
        self._token = ""
        self._renew_at_s = 0.0
        self._asking = asyncio.Lock()

    async def token(self) -> str:
        """Raises `NoToken`."""
        async with self._asking:
            if time.monotonic() >= self._renew_at_s:
                self._token, life_s = await self._ask()
                self._renew_at_s = time.monotonic() + _RENEW_AT * life_s
            return self._token

    async def _ask(self) -> tuple[str, float]:
        # Seven megabytes, which only this kind of broker is worth.
        import httpx

        settings = self._settings
        url = settings.sasl_oauthbearer_token_endpoint_url or ""
        body = {"grant_type": "client_credentials"}
        if settings.sasl_oauthbearer_scope:
            body["scope"] = settings.sasl_oauthbearer_scope
        try:
            trusted = context_trusting(
                settings.sasl_oauthbearer_token_endpoint_cafile,
                name_of("sasl_oauthbearer_token_endpoint_cafile"),
            )
            async with httpx.AsyncClient(verify=trusted, timeout=_ENDPOINT_WITHIN_S) as http:
                who = (settings.sasl_oauthbearer_client_id or "", settings.client_secret())
                answer = await http.post(url, data=body, auth=who)
            if answer.status_code != httpx.codes.OK:
                raise NoToken(f"{url} answered {answer.status_code}: check the client's id and secret")
            document = answer.json()
            return str(document["access_token"]), float(document.get("expires_in", _LIFE_S))
        except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
            # An answer may hold a token: what kind of fault it is must do.
            raise NoToken(f"{url} gave no token: {type(error).__name__}") from None
