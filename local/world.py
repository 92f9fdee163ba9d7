"""A world of our own on this machine: one folder with databases, broker, content, secrets and tokens.

world.json      the URL and the tokens, for the command line
postgres/       the embedded PostgreSQL: the services' databases, and the example's
content/        the content store
keys/           the services' keys, with which they prove who they are, and the Library's for packages
secrets/        a file per secret: <project>/<environment>/<name>
work/           scratch of executor and validator
settings.json   what must stay the same when the world is started again
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from pydantic import SecretStr

from local.ports import free_port, is_free
from shared.clients.secret_sources import Scope
from shared.clock import utc_now
from shared.contracts.topics import POOLED, SERVICES, principal_of
from shared.contracts.values import Actor, Digest
from shared.identity.keys import PublicKeys, SigningKey
from shared.identity.proofs import SIGNING_SERVICES, Signer
from shared.identity.service_keys import ServiceKeys
from shared.identity.tokens import issue_token
from shared.private_files import private_folder
from shared.signing.library_keys import LibraryKeys, TrustedKey, Validity
from shared.signing.releases import Named, sign_release

HOST = "127.0.0.1"
TOKENS_VALID_FOR = timedelta(days=1)
_SETTINGS = "settings.json"
_LIBRARY_KEY = "library.pem"
_LIBRARY_KEYS = "library.json"

ACTORS = {
    "library": Actor(id="library@upgradepath.example", role="library"),
    "maintainer": Actor(id="mira@acme.example", role="maintainer", projects=("acme-portal",)),
    "approver": Actor(id="olga@acme.example", role="maintainer", projects=("acme-portal",)),
    "sre": Actor(id="sam@innopo.example", role="sre"),
}


@dataclass(frozen=True)
class World:
    """Where a world lies, on which port it answers, and the private key (PEM) that signs its tokens.

    The ports of PostgreSQL and of the hosting stay the same: the secrets that are kept here name them.
    """

    folder: Path
    port: int
    postgres_port: int
    hosting_port: int
    token_key: str = field(repr=False)
    pools: tuple[str, ...] = ()
    """Worker pools, whose workers somebody else starts."""

    @classmethod
    def open(cls, folder: Path, pools: Sequence[str] = ()) -> World:
        """The world in `folder`; it is made when there is none. These `pools` are added to its own."""
        folder = folder.resolve()
        kept = folder / _SETTINGS
        if kept.is_file():
            settings = json.loads(kept.read_text())
            if "-----BEGIN" not in settings["token_key"]:
                # Made when tokens were signed with a shared secret; nobody has a token of it any more.
                settings["token_key"] = SigningKey.new().pem()
                _write_private(kept, json.dumps(settings))
        else:
            for name in ("content", "secrets", "work"):
                private_folder(folder / name)
            settings = {
                "port": free_port(),
                "postgres_port": free_port(),
                "hosting_port": free_port(),
                "token_key": SigningKey.new().pem(),
            }
            _write_private(kept, json.dumps(settings))
        if "hosting_port" not in settings:
            settings["hosting_port"] = free_port()
            _write_private(kept, json.dumps(settings))
        if pools:
            settings["pools"] = [*dict.fromkeys((*settings.get("pools", ()), *pools))]
            _write_private(kept, json.dumps(settings))
        all_pools = tuple(settings.get("pools", ()))
        _make_service_keys(folder / "keys", all_pools)
        _make_library_key(folder / "keys")
        port = settings["port"] if is_free(settings["port"]) else free_port()
        ports = (port, settings["postgres_port"], settings["hosting_port"])
        return cls(folder, *ports, settings["token_key"], all_pools)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @cached_property
    def public_keys(self) -> str:
        """What the services of this world hold: a JWK Set."""
        return SigningKey.load(self.token_key).public().jwks()

    @property
    def service_public_keys(self) -> str:
        """The file with the public keys of this world's services: a JWK Set."""
        return str(self.folder / "keys" / "services.json")

    @property
    def library_key(self) -> Path:
        """The file with the private key that signs this world's packages."""
        return self.folder / "keys" / _LIBRARY_KEY

    def sign_package(self, system: str, version: str, package: Digest) -> bytes:
        """The Library's envelope about the package with this digest."""
        key = SigningKey.load(self.library_key.read_text())
        named = Named(system, version, package)
        return sign_release(named, builder="the local world", at=utc_now(), keys=[key])

    def signer(self, principal: str) -> Signer:
        """What this service signs with; whoever has the world's folder may play any of them."""
        folder = self.folder / "keys"
        return ServiceKeys.load(principal, str(folder), self.service_public_keys).signer

    def token(self, actor: Actor) -> str:
        return issue_token(actor, SecretStr(self.token_key), valid_for=TOKENS_VALID_FOR)

    @property
    def actors(self) -> dict[str, Actor]:
        """The world's people. Its maintainer may decide for every Project of this world."""
        known = json.loads((self.folder / _SETTINGS).read_text()).get("projects", ())
        maintainer = ACTORS["maintainer"]
        projects = tuple(dict.fromkeys((*maintainer.projects, *known)))
        return ACTORS | {"maintainer": maintainer.model_copy(update={"projects": projects})}

    def add_projects(self, projects: Iterable[str]) -> bool:
        """Let the maintainer decide for these too; whether there was a new one among them."""
        kept = self.folder / _SETTINGS
        settings = json.loads(kept.read_text())
        known = settings.get("projects", [])
        all_projects = [*dict.fromkeys((*known, *projects))]
        if all_projects == known:
            return False
        _write_private(kept, json.dumps(settings | {"projects": all_projects}))
        return True

    def announce(self, bootstrap_servers: str, postgres_url: str) -> None:
        """Write `world.json`, by which the command line finds this world, and people its servers.

        Its tokens end after a day.
        """
        announced = {
            "url": self.url,
            "tokens": {name: self.token(actor) for name, actor in self.actors.items()},
            "bootstrap_servers": bootstrap_servers,
            "postgres": postgres_url,
            "library_key": str(self.library_key),
        }
        _write_private(self.folder / "world.json", json.dumps(announced, indent=2))

    def withdraw(self) -> None:
        """The world has stopped: nobody shall look for it."""
        (self.folder / "world.json").unlink(missing_ok=True)

    def keep_secret(self, project: str, environment: Scope, name: str, value: str) -> None:
        """The value of this Project's `secret:<name>` in this environment."""
        _write_private(self.folder / "secrets" / project / environment / name, value)

    def environment(
        self, bootstrap_servers: str, databases: dict[str, str], *, embedded: bool
    ) -> dict[str, str]:
        """The variables with which every service of this world is started; `databases` by service."""
        return {
            "UPGRADES_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "UPGRADES_KAFKA_EMBEDDED": str(embedded).lower(),
            "UPGRADES_KAFKA_SESSION_TIMEOUT_MS": "2000" if embedded else "6000",
            "UPGRADES_CONTENT_URL": (self.folder / "content").as_uri(),
            "UPGRADES_TOKEN_PUBLIC_KEYS": self.public_keys,
            "UPGRADES_SERVICE_KEY": str(self.folder / "keys"),
            "UPGRADES_SERVICE_PUBLIC_KEYS": self.service_public_keys,
            "UPGRADES_LIBRARY_KEYS": str(self.folder / "keys" / _LIBRARY_KEYS),
            # What is tried by hand needs no signature here; it is marked everywhere.
            "UPGRADES_ALLOW_UNSIGNED": "true",
            "UPGRADES_BACKUP_KEY": str(_backup_key(self.folder / "keys" / "backup.txt")),
            "UPGRADES_POOLS": ",".join(self.pools),
            "UPGRADES_WORK_FOLDER": str(self.folder / "work"),
            "UPGRADES_SECRETS_FOLDER": str(self.folder / "secrets"),
            # Repositories lie in this world, and apps run in it.
            "UPGRADES_ALLOW_LOCAL_REPOSITORIES": "true",
            "UPGRADES_STAGING_NETWORKS": "127.0.0.0/8,::1/128",
            "UPGRADES_INSTANCE": "dev",
            # It is the partner's own machine, which may have no bubblewrap.
            "UPGRADES_RUNNER_ALLOW_NONE": "true",
            "UPGRADES_DOCS": "open",
            **{f"UPGRADES_{name.upper()}_DATABASE_URL": databases[name] for name in SERVICES},
        }


def let_decide(folder: Path, project: str) -> str | None:
    """Let the maintainer of the world that runs in `folder` decide for one more Project; their new token.

    None where the folder has no world's key: it only names one.
    """
    announced, kept = folder / "world.json", folder / _SETTINGS
    if not kept.is_file() or not announced.is_file():
        return None
    world = World.open(folder)
    world.add_projects([project])
    token = world.token(world.actors["maintainer"])
    document = json.loads(announced.read_text())
    document["tokens"]["maintainer"] = token
    _write_private(announced, json.dumps(document, indent=2))
    return token


def _make_service_keys(folder: Path, pools: Sequence[str]) -> None:
    """A key pair for each service that signs: the private ones in files of their own, the public in one."""
    pooled = (principal_of(service, pool) for pool in pools for service in POOLED)
    public = PublicKeys({})
    for principal in (*sorted(SIGNING_SERVICES), *pooled):
        kept = folder / f"{principal}.pem"
        if not kept.is_file():
            _write_private(kept, SigningKey.new().pem())
        public |= SigningKey.load(kept.read_text(), principal).public()
    _write_private(folder / "services.json", public.jwks())


def _make_library_key(folder: Path) -> None:
    """The key that signs packages, and a file with the public ones that prove them; what is there stays."""
    kept, trusted = folder / _LIBRARY_KEY, folder / _LIBRARY_KEYS
    if not kept.is_file():
        _write_private(kept, SigningKey.new().pem())
    if not trusted.is_file():
        key = SigningKey.load(kept.read_text())
        good = TrustedKey(key.private.public_key(), Validity(purpose="library"))
        _write_private(trusted, LibraryKeys({key.kid: good}).text())


def _backup_key(kept: Path) -> Path:
    """The file with the private key that seals and opens backups of this world's production."""
    if not kept.is_file():
        # Its library comes with the first world that needs one.
        from services.executor.clients.backup_keys import new_key

        _write_private(kept, f"{new_key()[0]}\n")
    return kept


def _write_private(path: Path, text: str) -> None:
    """Whoever looks sees all of it or nothing: people and scripts wait for `world.json`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    aside.touch(mode=0o600)
    aside.write_text(text)
    aside.replace(path)
