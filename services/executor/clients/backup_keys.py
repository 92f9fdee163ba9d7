"""Keys of backups: public halves that seal one, and private halves that open it. age's X25519, by pyrage.

A Project may have its own: the secrets `backup-key` (private keys) and `backup-recipients` (public ones) of
its production. Otherwise those of the executor's settings count. A worker without a private key can seal and
not open.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pyrage import IdentityError, RecipientError, x25519

from shared.clients.secrets import BACKUP_KEY, BACKUP_RECIPIENTS, MissingSecret, ScopedSecrets

_SPACES = re.compile(r"[\s,]++")
_PRIVATE = "AGE-SECRET-KEY-"
_PUBLIC = "age1"
_FILE_BYTES_MAX = 64 << 10


class UnusableBackupKey(ValueError):
    """A key is not one of age's; the text says whose, never a private key itself."""


@dataclass(frozen=True)
class BackupKeys:
    """Each backup is sealed for all of `recipients`, and any one of the private keys opens it."""

    recipients: tuple[str, ...] = ()
    private: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def read(cls, recipients: str = "", private: str = "", *, where: str = "the settings") -> "BackupKeys":
        """As `of_texts`, but a text may name a file with the keys: for who may choose files here."""
        return cls.of_texts(_contents(recipients, _PUBLIC, where), _contents(private, _PRIVATE, where), where)

    @classmethod
    def of_texts(cls, recipients: str, private: str, where: str) -> "BackupKeys":
        """From texts: keys with spaces, commas or lines between.

        Lines with `#` are comments, as `age-keygen` writes them. Without recipients the first private key
        seals: the newest one stands first. Raises UnusableBackupKey.
        """
        identities = tuple(_words(private))
        opened_by = [_public(each, where) for each in identities]
        named = tuple(dict.fromkeys(_words(recipients)))
        for each in named:
            _recipient(each, where)
        return cls(named or tuple(opened_by[:1]), identities)

    @property
    def opens(self) -> frozenset[str]:
        """The public halves of the private keys."""
        return frozenset(_public(each, "the worker") for each in self.private)

    def sealing(self) -> list[x25519.Recipient]:
        return [_recipient(each, "the worker") for each in self.recipients]

    def opening(self) -> list[x25519.Identity]:
        return [_identity(each, "the worker") for each in self.private]


def keys_of_project(secrets: ScopedSecrets, system: BackupKeys) -> BackupKeys:
    """The Project's own keys, or else the system's; what the system's once sealed still opens.

    Raises UnusableBackupKey, and what secrets raise.
    """
    private, recipients = _optional(secrets, BACKUP_KEY), _optional(secrets, BACKUP_RECIPIENTS)
    if not private and not recipients:
        return system
    own = BackupKeys.of_texts(recipients, private, f"{secrets.project}'s {BACKUP_KEY}")
    return BackupKeys(own.recipients, tuple(dict.fromkeys((*own.private, *system.private))))


def new_key() -> tuple[str, str]:
    """A private key and its public half."""
    made = x25519.Identity.generate()
    return str(made), str(made.to_public())


def _optional(secrets: ScopedSecrets, name: str) -> str:
    try:
        return secrets.resolve(name)
    except MissingSecret:
        return ""


def _contents(text: str, beginning: str, where: str) -> str:
    return _file(Path(text.strip()), where) if text and beginning not in text else text


def _words(text: str) -> Iterable[str]:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [word for line in lines for word in _SPACES.split(line) if word]


def _file(path: Path, where: str) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        said = f"neither keys of age nor a readable file with them ({type(error).__name__})"
        raise UnusableBackupKey(f"the backup keys of {where} are {said}: {_CURE}") from None


_CURE = "make one with `upgradepath backup key`"


def _identity(text: str, where: str) -> x25519.Identity:
    try:
        return x25519.Identity.from_str(text)
    except IdentityError:
        # Its words may quote the key.
        raise UnusableBackupKey(f"a private backup key of {where} is not one of age's: {_CURE}") from None


def _public(text: str, where: str) -> str:
    return str(_identity(text, where).to_public())


def _recipient(text: str, where: str) -> x25519.Recipient:
    try:
        return x25519.Recipient.from_str(text)
    except RecipientError:
        said = "is not one of age's public keys (age1…)"
        raise UnusableBackupKey(f"a backup recipient of {where} {said}: {_CURE}") from None
