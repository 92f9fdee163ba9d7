"""What every check is given, and what it gives back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.addresses import Network
from shared.clients.content import ContentStore
from shared.clients.environments import EnvironmentRunner
from shared.clients.secrets import ScopedSecrets
from shared.contracts.values import Commit, Digest
from shared.isolation.choosing import Isolation

_EXCERPT_LINES = 20
_EXCERPT_CHARACTERS = 2000


@dataclass(frozen=True)
class Context:
    """Staging as one stage's checks see it."""

    commit: Commit
    address: str | None
    checkout: Path
    database_url: str
    staging: EnvironmentRunner
    secrets: ScopedSecrets
    content: ContentStore
    isolation: Isolation
    networks: tuple[Network, ...] = ()
    """Where staging may be, besides the public network."""

    def variables(self) -> dict[str, str]:
        """The whole environment of a command."""
        return self.staging.variables(self.commit, self.address)

    async def keep(self, text: str) -> Digest:
        """Put what a check printed or read into the content store, with secrets taken out."""
        return await self.content.put(self.secrets.redact(text).encode())


@dataclass(frozen=True)
class Seen:
    """What one check saw."""

    verdict: Literal["passed", "failed", "needs-sign-off"]
    detail: str
    log: Digest | None = None


def excerpt(text: str) -> str:
    """The last lines, as many as a person wants to read."""
    lines = text.rstrip().splitlines()[-_EXCERPT_LINES:]
    return "\n".join(lines)[-_EXCERPT_CHARACTERS:]
