"""A worker's secrets, as its settings say."""

from collections.abc import Mapping, Sequence

from shared.clients.secret_sources import SCOPES, Scope, SecretSource
from shared.clients.secrets import Secrets
from shared.settings import WorkerSettings


def secrets_of(
    settings: WorkerSettings, environ: Mapping[str, str], scopes: Sequence[Scope] = SCOPES
) -> Secrets:
    """Mounted files first, then variables, then Vault where there is one."""
    more: list[SecretSource] = []
    if settings.vault.address is not None:
        # Its client comes with the extra `vault`, and only where it is used.
        from shared.clients.vault import VaultSource

        more.append(VaultSource(settings.vault))
    return Secrets(settings.secrets_folder, environ, more=more, scopes=scopes)
