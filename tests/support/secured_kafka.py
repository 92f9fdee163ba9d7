"""Apache Kafka as it runs where there are others: SASL_SSL, client certificates, and access lists that hold.

    async with SecuredKafka(folder, users=("partner-b",)) as kafka:
        settings = kafka.settings("upgrades-registry")
        environment = kafka.variables("upgrades-registry")

Each user's password is `kafka.password(user)`. Nobody but `ADMIN` may do anything until rules are written:
`apply_rules(kafka.settings(ADMIN), services.access.rules())`, or `upgradepath topics create --acl`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.kafka import ApacheKafka
from local.ports import free_port
from services.access import default_principal, roles
from shared.messaging.client_arguments import client_arguments
from shared.settings import KafkaSettings
from tests.support.authority import Authority, Files

ADMIN = "admin"
HOST = "127.0.0.1"
AUDIENCE, ISSUER = "kafka", "https://idp.example"
_SECURITY = "org.apache.kafka.common.security"

_PROPERTIES = """\
listeners=SASL_SSL://127.0.0.1:{port},SSL://127.0.0.1:{certificates_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=SASL_SSL://127.0.0.1:{port},SSL://127.0.0.1:{certificates_port}
inter.broker.listener.name=SASL_SSL
listener.security.protocol.map=CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
# The controller's port is asked by the server itself alone; where clients come in, nobody is anonymous.
super.users=User:{admin};User:ANONYMOUS
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={truststore}
listener.name.ssl.ssl.client.auth=required
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN,OAUTHBEARER
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram} username="{admin}" password="{password}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram};
listener.name.sasl_ssl.plain.sasl.jaas.config={plain};
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={oauth} unsecuredLoginStringClaim_sub="{admin}";
listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class={validator}
sasl.oauthbearer.jwks.endpoint.url={keys}
sasl.oauthbearer.expected.audience={audience}
sasl.oauthbearer.expected.issuer={issuer}
"""


class SecuredKafka(ApacheKafka):
    """One node with an authority of its own; `users` are there besides `ADMIN` and one for each service.

    `token_keys` is a JWK Set: who signs with one of these keys may come in with a bearer token.
    """

    def __init__(
        self,
        folder: Path,
        *,
        users: tuple[str, ...] = (),
        pools: tuple[str, ...] = (),
        token_keys: str = '{"keys": []}',
    ) -> None:
        super().__init__(folder)
        self.certificates_port = free_port()
        self.authority = Authority.new()
        services = [default_principal(role).removeprefix("User:") for role in roles(pools)]
        self.users = (ADMIN, *services, *users)
        self._files = self.authority.write(self.folder / "tls", "broker", (HOST,))
        self._token_keys = token_keys

    @property
    def ca(self) -> Path:
        """The authority's certificate, as UPGRADES_KAFKA_SSL_CAFILE names it."""
        return self._files.ca

    def password(self, user: str) -> str:
        """Another one for each user."""
        return hashlib.sha256(f"{self.folder} {user}".encode()).hexdigest()[:24]

    def certificate(self, name: str) -> Files:
        """A client's certificate; at the port for certificates its principal is `User:CN=<name>`."""
        return self.authority.write(self.folder / "tls" / name, name)

    def variables(self, user: str) -> dict[str, str]:
        """What a process is given to come in as this user."""
        return {
            "UPGRADES_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            **{f"UPGRADES_KAFKA_{name.upper()}": value for name, value in self._asked(user).items()},
        }

    def settings(self, user: str, **others: Any) -> KafkaSettings:
        """The same for this process; `others` in place of some of them."""
        asked: Mapping[str, Any] = self._asked(user)
        return KafkaSettings(**{"bootstrap_servers": self.bootstrap_servers, **asked, **others})

    def _asked(self, user: str) -> dict[str, str]:
        return {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": user,
            "sasl_password": self.password(user),
            "ssl_cafile": str(self.ca),
        }

    def _client(self) -> dict[str, Any]:
        return client_arguments(self.settings(ADMIN))

    def _properties(self, data: Path) -> str:
        keystore, keys = self.folder / "tls" / "keystore.pem", self.folder / "tls" / "keys.json"
        keystore.touch(mode=0o600)
        keystore.write_text(self._files.pair)
        keys.write_text(json.dumps(json.loads(self._token_keys)))
        plain = "".join(f' user_{user}="{self.password(user)}"' for user in self.users)
        secured = _PROPERTIES.format(
            port=self.port,
            certificates_port=self.certificates_port,
            controller_port=self._controller_port,
            admin=ADMIN,
            password=self.password(ADMIN),
            keystore=keystore,
            truststore=self.ca,
            scram=f"{_SECURITY}.scram.ScramLoginModule required",
            plain=f"{_SECURITY}.plain.PlainLoginModule required{plain}",
            oauth=f"{_SECURITY}.oauthbearer.OAuthBearerLoginModule required",
            validator=f"{_SECURITY}.oauthbearer.OAuthBearerValidatorCallbackHandler",
            keys=keys.as_uri(),
            audience=AUDIENCE,
            issuer=ISSUER,
        )
        names = {line.partition("=")[0] for line in secured.splitlines()}
        kept = [
            line for line in super()._properties(data).splitlines() if line.partition("=")[0] not in names
        ]
        return "\n".join([*kept, secured])

    def _format_options(self) -> list[str]:
        return [
            f"--add-scram={mechanism}=[name={user},password={self.password(user)}]"
            for user in self.users
            for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256")
        ]

    def _java_options(self) -> list[str]:
        keys = (self.folder / "tls" / "keys.json").as_uri()
        return [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys}"]
