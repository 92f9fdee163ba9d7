"""Backups of tests: sealed with one key of the session, in memory or in a folder."""

from services.executor.clients.backup_keys import BackupKeys, new_key
from services.executor.clients.backup_store import BackupStore
from shared.clients.content import ContentStore
from shared.clients.secrets import Secrets

KEYS = BackupKeys.read("", new_key()[0])


def backups(
    url: str = "memory:///", *, earlier: ContentStore | None = None, secrets: Secrets | None = None
) -> BackupStore:
    """A store for backups; `earlier` is the content store in which older ones lie."""
    return BackupStore(
        ContentStore(url), earlier or ContentStore("memory:///"), secrets or Secrets(None, {}), KEYS
    )
