"""A worker's secrets, as its settings say."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import SecretStr
from pydantic_settings import BaseSettings

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
    own = [*_secret_texts(settings), *_secret_texts(settings.kafka), *_secret_texts(settings.vault)]
    return Secrets(settings.secrets_folder, environ, more=more, scopes=scopes, own=own)


def _secret_texts(settings: BaseSettings) -> Iterator[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
