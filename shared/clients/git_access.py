"""How a remote is reached: with the Project's own credential, and with nothing of the worker's own."""

import base64
import os
import shlex
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_network
from pathlib import Path
from typing import Protocol

from shared.addresses import Address, AddressRefused, Network, is_local_name, reachable
from shared.clients.git_verdicts import answer
from shared.errors import told
from shared.repository_urls import (
    KNOWN_HOSTS,
    PUBLIC_ONLY,
    BadRepository,
    Repository,
    RepositoryRules,
    read_repository,
)

_HTTPS_PORT, _SSH_PORT = 443, 22
_PROXIES = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")
_CERTIFICATES = ("GIT_SSL_CAINFO", "SSL_CERT_FILE")
# A person's own machine, on which everything is theirs.
_PERSONS = (*_PROXIES, *_CERTIFICATES, "HOME", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_ASKPASS")
_PRIVATE_KEY = "-----BEGIN "
_PRIVATE: tuple[Network, ...] = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)


class Access(Protocol):
    """The variables with which Git reaches a remote."""

    def reaching(self, remote: str) -> AbstractAsyncContextManager[Mapping[str, str]]:
        """For the time of one call of Git. Raises `BadRepository` for a remote that is not taken."""
        ...


class PersonsAccess:
    """A person's own Git, for commands that people run on their machine: agent and keys are theirs."""

    @asynccontextmanager
    async def reaching(self, remote: str) -> AsyncIterator[Mapping[str, str]]:
        yield _handed_on(_PERSONS) | {"GIT_ALLOW_PROTOCOL": "https:http:ssh:file"}


@dataclass(frozen=True)
class WorkersAccess:
    """One Project's door to its repository; the worker's configuration, keys and agent stay out of reach.

    `credential` is `user:token` or a token for https, a private key for ssh. It stands in the environment of
    the one Git process, or in a file that goes with it: never among arguments, in a clone or in a log.
    """

    rules: RepositoryRules = PUBLIC_ONLY
    credential: str | None = field(default=None, repr=False)
    known_hosts: Path = KNOWN_HOSTS

    @asynccontextmanager
    async def reaching(self, remote: str) -> AsyncIterator[Mapping[str, str]]:
        repository = read_repository(remote, self.rules)
        allowed = "https:ssh:file" if self.rules.local else "https:ssh"
        ours = {"GIT_ALLOW_PROTOCOL": allowed, "GIT_SSH_COMMAND": "false"}
        match repository.kind:
            case "file":
                yield ours
            case "https":
                yield ours | _handed_on((*_PROXIES, *_CERTIFICATES)) | await self._over_https(repository)
            case "ssh":
                address = await self._address(repository, _SSH_PORT)
                with self._key() as key:
                    yield ours | {"GIT_SSH_COMMAND": _ssh(repository, address, key, self.known_hosts)}

    async def _over_https(self, repository: Repository) -> dict[str, str]:
        host = f"[{repository.host}]" if ":" in repository.host else repository.host
        port = repository.port or _HTTPS_PORT
        settings = []
        if not _is_proxied(repository.host):
            address = await self._address(repository, port)
            at = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
            # Asked at the address that was judged: a name may mean another one a moment later.
            # With a dot behind it, too: Git asks for the name as the URL has it.
            for name in (repository.host, f"{repository.host}."):
                settings.append(("http.curloptResolve", f"{name}:{port}:{at}"))
        if self.credential is not None:
            header = f"Authorization: Basic {base64.b64encode(self._user_and_token()).decode()}"
            place = host if repository.port is None else f"{host}:{repository.port}"
            settings.append((f"http.https://{place}/.extraHeader", header))
        return _configured(settings)

    def _user_and_token(self) -> bytes:
        text = (self.credential or "").strip()
        if text.startswith(_PRIVATE_KEY) or not text.isprintable():
            raise BadRepository(
                "the repository's credential is not a token, and its URL is https",
                "keep a token as its credential, or register the ssh URL",
            )
        # A token alone goes as a password: every host takes it with any user's name.
        return (text if ":" in text else f"x-access-token:{text}").encode()

    async def _address(self, repository: Repository, port: int) -> Address:
        host = repository.host
        if is_local_name(host) and not self.rules.local:
            raise BadRepository(f"the repository's host {host} is the worker's own machine")
        try:
            return await reachable(host, repository.port or port, _networks(self.rules))
        except AddressRefused as error:
            raise BadRepository(
                f"the repository is not reached: {error}",
                "use a public host, or ask the operator to name it in UPGRADES_REPOSITORY_HOSTS",
            ) from None
        except (OSError, TimeoutError) as error:
            said = f"the repository's host {host} has no address now: {told(error)}"
            raise answer(said, "could not resolve") from None

    @contextmanager
    def _key(self) -> Iterator[Path | None]:
        if self.credential is None:
            yield None
            return
        if not self.credential.lstrip().startswith(_PRIVATE_KEY):
            raise BadRepository(
                "the repository's credential is not a private key, and its URL is ssh",
                "keep a private key as its credential, or register the https URL",
            )
        with tempfile.TemporaryDirectory(prefix="upgradepath-key-") as folder:
            key = Path(folder) / "key"
            key.touch(mode=0o600)
            key.write_text(self.credential.strip() + "\n")
            yield key


def _networks(rules: RepositoryRules) -> tuple[Network, ...]:
    """Hosts that the operator has named may be in a private network."""
    return (*rules.networks, *(_PRIVATE if rules.hosts else ()))


def _ssh(repository: Repository, address: Address, key: Path | None, known_hosts: Path) -> str:
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "HostName": str(address),
        "HostKeyAlias": repository.host,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": "none" if key is None else str(key),
        "PreferredAuthentications": "publickey",
        "ForwardAgent": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "ControlPath": "none",
        "ConnectTimeout": "20",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return shlex.join(["ssh", "-F", "/dev/null", *words])


def _configured(settings: list[tuple[str, str]]) -> dict[str, str]:
    """Git's settings as variables: arguments can be read by every user of the machine."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings):
        variables |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _is_proxied(host: str) -> bool:
    """Whether the operator's proxy resolves this host, and not the worker."""
    if not any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy")):
        return False
    spared = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [one.strip().lstrip(".").lower() for one in spared.split(",") if one.strip()]
    return "*" not in names and not any(host == name or host.endswith(f".{name}") for name in names)


def _handed_on(names: tuple[str, ...]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}
