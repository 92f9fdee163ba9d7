"""How a client of Kafka proves itself, and how it knows its broker: the settings, under their usual names.

The names are those of aiokafka, kafka-python and librdkafka, in capitals behind `UPGRADES_KAFKA_`.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.plaintext import ALLOW_PLAINTEXT, refuse_plaintext

_PREFIX = "UPGRADES_KAFKA_"
_OAUTH = "OAUTHBEARER"
_USER_NAMES = ("sasl_username", "sasl_password", "sasl_password_file")
_ENDPOINT = "sasl_oauthbearer_token_endpoint_url"
_OF_ENDPOINT = (
    "sasl_oauthbearer_client_id",
    "sasl_oauthbearer_client_secret",
    "sasl_oauthbearer_client_secret_file",
    "sasl_oauthbearer_scope",
    "sasl_oauthbearer_token_endpoint_cafile",
)


class KafkaSecurity(BaseSettings):
    """The broker's addresses and what is needed to be let in. Contradictions are refused with their cure."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    bootstrap_servers: str = "127.0.0.1:9092"
    embedded: bool = Field(
        default=False,
        description="the in-memory broker: it has no idempotent producer, and forgets when it stops",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_password_file: Path | None = Field(default=None, description="read anew for each connection")
    sasl_oauthbearer_token_file: Path | None = Field(
        default=None, description="a token that somebody else renews; read anew for each connection"
    )
    sasl_oauthbearer_token_endpoint_url: str | None = None
    sasl_oauthbearer_token_endpoint_cafile: Path | None = None
    sasl_oauthbearer_client_id: str | None = None
    sasl_oauthbearer_client_secret: SecretStr | None = None
    sasl_oauthbearer_client_secret_file: Path | None = None
    sasl_oauthbearer_scope: str | None = None
    ssl_cafile: Path | None = Field(default=None, description="PEM; the system's authorities by default")
    ssl_certfile: Path | None = Field(default=None, description="PEM: our certificate and its chain")
    ssl_keyfile: Path | None = Field(default=None, description="PEM; by default it is in ssl_certfile")
    ssl_password: SecretStr | None = Field(default=None, description="of an encrypted private key")
    allow_plaintext: bool = Field(default=False, validation_alias=ALLOW_PLAINTEXT)

    @property
    def is_encrypted(self) -> bool:
        """The connection is TLS."""
        return self.security_protocol in {"SSL", "SASL_SSL"}

    @property
    def is_sasl(self) -> bool:
        """The client proves itself with SASL, and not (only) by its certificate."""
        return self.security_protocol in {"SASL_SSL", "SASL_PLAINTEXT"}

    @property
    def hosts(self) -> list[str]:
        """The hosts of the bootstrap servers, without their ports."""
        return [_host_of(one.strip()) for one in self.bootstrap_servers.split(",") if one.strip()]

    def password(self) -> str:
        """The password as it is now. Raises ValueError when its file cannot be read."""
        return self._secret("sasl_password")

    def client_secret(self) -> str:
        """The secret for the token endpoint as it is now. Raises ValueError when its file cannot be read."""
        return self._secret("sasl_oauthbearer_client_secret")

    def token(self) -> str:
        """The bearer token that lies in its file now. Raises ValueError when it cannot be read."""
        return self._secret("sasl_oauthbearer_token")

    def ssl_context(self) -> ssl.SSLContext:
        """Proves the broker's certificate and its host name, and has our own certificate if there is one.

        Raises ValueError that names the variable whose file is wrong.
        """
        context = context_trusting(self.ssl_cafile, name_of("ssl_cafile"))
        if self.ssl_certfile is not None:
            password = None if self.ssl_password is None else self.ssl_password.get_secret_value()
            try:
                # Without one OpenSSL would ask at the terminal.
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, password=lambda: password or "")
            except (OSError, ssl.SSLError) as error:
                names = f"{name_of('ssl_certfile')} and {name_of('ssl_keyfile')}"
                raise ValueError(
                    f"{names} cannot be used ({_why(error)}): they name a certificate and its private key"
                    f" in PEM; {name_of('ssl_password')} opens an encrypted key"
                ) from None
        return context

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        faults = [*self._faults()]
        if faults:
            raise ValueError("; ".join(faults))
        for host in self.hosts if not self.is_encrypted else ():
            refuse_plaintext(
                name_of("bootstrap_servers"),
                host,
                "messages would go to",
                f"set {name_of('security_protocol')}=SASL_SSL (or SSL) and the port of that listener",
                allowed=self.allow_plaintext,
            )
        if self.is_encrypted:
            self.ssl_context()
        for name in self._given("sasl_"):
            if name.endswith("_file"):
                _read(name, getattr(self, name))
        return self

    def _faults(self) -> Iterator[str]:
        if self.embedded and self.security_protocol != "PLAINTEXT":
            yield (
                f"{name_of('security_protocol')} is {self.security_protocol}, but the embedded broker speaks"
                f" PLAINTEXT only: set {name_of('bootstrap_servers')} to a broker that speaks it"
            )
        if self.is_sasl:
            yield from self._sasl_faults()
        else:
            for name in self._given("sasl_"):
                yield self._unused(name, "SASL_SSL")
        if not self.is_encrypted:
            for name in self._given("ssl_"):
                yield self._unused(name, "SASL_SSL or SSL")
        elif self.ssl_certfile is None:
            for name in ("ssl_keyfile", "ssl_password"):
                if getattr(self, name) is not None:
                    yield f"{name_of(name)} is set without a certificate: set {name_of('ssl_certfile')}"

    def _sasl_faults(self) -> Iterator[str]:
        mechanism = self.sasl_mechanism
        if mechanism is None:
            yield (
                f"{name_of('security_protocol')} is {self.security_protocol}: set"
                f" {name_of('sasl_mechanism')} to SCRAM-SHA-512, SCRAM-SHA-256, PLAIN or OAUTHBEARER"
            )
            return
        if mechanism in {"PLAIN", _OAUTH} and not self.is_encrypted:
            yield (
                f"{mechanism} sends the secret itself, so it goes over TLS only: set"
                f" {name_of('security_protocol')}=SASL_SSL"
            )
        if mechanism == _OAUTH:
            yield from self._oauth_faults()
            return
        for name in self._given("sasl_oauthbearer_"):
            yield f"{name_of(name)} is for {_OAUTH}, but {name_of('sasl_mechanism')} is {mechanism}"
        if not self.sasl_username:
            yield f"{mechanism} needs a user: set {name_of('sasl_username')}"
        yield from self._one_secret("sasl_password", mechanism)

    def _oauth_faults(self) -> Iterator[str]:
        for name in _USER_NAMES:
            if getattr(self, name) is not None:
                yield f"{name_of(name)} is not for {_OAUTH}: leave it out, or set another mechanism"
        url, file = self.sasl_oauthbearer_token_endpoint_url, self.sasl_oauthbearer_token_file
        if (url is None) == (file is None):
            yield (
                f"{_OAUTH} needs one source of tokens: set either {name_of('sasl_oauthbearer_token_file')}"
                f" or {name_of(_ENDPOINT)}"
            )
        elif file is not None:
            for name in _OF_ENDPOINT:
                if getattr(self, name) is not None:
                    yield f"{name_of(name)} is for {name_of(_ENDPOINT)}, which is not set"
        elif url is not None:
            yield from self._endpoint_faults(url)

    def _endpoint_faults(self, url: str) -> Iterator[str]:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            yield f"{name_of(_ENDPOINT)} is not an https:// URL"
        elif parts.scheme == "http":
            refuse_plaintext(
                name_of(_ENDPOINT),
                parts.hostname,
                "the client's secret would go to",
                "use https://",
                allowed=self.allow_plaintext,
            )
        if not self.sasl_oauthbearer_client_id:
            yield f"{name_of(_ENDPOINT)} needs a client: set {name_of('sasl_oauthbearer_client_id')}"
        yield from self._one_secret("sasl_oauthbearer_client_secret", "the token endpoint")

    def _one_secret(self, name: str, whose: str) -> Iterator[str]:
        given = [one for one in (name, f"{name}_file") if getattr(self, one) is not None]
        if len(given) != 1:
            how = "two are set" if given else "none is set"
            yield f"{whose} needs one secret, {how}: set either {name_of(name)} or {name_of(f'{name}_file')}"
        elif given == [name] and not getattr(self, name).get_secret_value():
            yield f"{name_of(name)} is empty"

    def _secret(self, name: str) -> str:
        value: SecretStr | None = getattr(self, name, None)
        return value.get_secret_value() if value else _read(f"{name}_file", getattr(self, f"{name}_file"))

    def _given(self, prefix: str) -> list[str]:
        """Names of the settings of that kind that somebody has set."""
        names = (name for name in type(self).model_fields if name.startswith(prefix))
        return [name for name in names if getattr(self, name) is not None]

    def _unused(self, name: str, protocol: str) -> str:
        return (
            f"{name_of(name)} is set, but {name_of('security_protocol')} is {self.security_protocol}:"
            f" set it to {protocol}, or leave {name_of(name)} out"
        )


def name_of(field: str) -> str:
    """The variable of a setting."""
    return _PREFIX + field.upper()


def context_trusting(cafile: Path | None, variable: str) -> ssl.SSLContext:
    """A client's context that trusts the authorities in `cafile` alone; the system's if it is none.

    Raises ValueError that names the variable.
    """
    try:
        return ssl.create_default_context(cafile=cafile)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(
            f"{variable} names {cafile}, which cannot be used ({_why(error)}): it is a file with the"
            " certificates of authorities in PEM"
        ) from None


def _read(name: str, file: Path) -> str:
    try:
        text = file.read_text("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name_of(name)} names {file}, which cannot be read: {_why(error)}") from None
    if not text:
        raise ValueError(f"{name_of(name)} names {file}, which is empty")
    return text


def _host_of(address: str) -> str:
    """`host` of `host:port`, `host`, `[::1]:port` and `SASL_SSL://host:port`."""
    address = address.rpartition("://")[2]
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address if address.count(":") > 1 else address.partition(":")[0]


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or getattr(error, "reason", None) or type(error).__name__
