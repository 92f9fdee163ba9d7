"""A file that only holders of a private key can read: one line that says for whom, then an age stream.

`tail -n +2 FILE | age -d -i KEYS` opens it without us. age authenticates every 64 KiB and the end, so a file
that was cut, changed or put in another order does not open, and nothing appears before all of it has.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pyrage import DecryptError, EncryptError, decrypt_io, encrypt_io

from services.executor.clients.backup_keys import BackupKeys
from shared.contracts.values import Digest
from shared.private_files import FILE_MODE

_MAGIC = b"upgradepath-backup 1 "
_HEAD_BYTES_MAX = 16 << 10
_BUFFER_BYTES = 1 << 20


class NotOpened(Exception):
    """No private key here opens it; `sealed_for` are the public halves of those that would."""

    def __init__(self, sealed_for: Sequence[str], tried: Sequence[str]) -> None:
        here = f"here are those of {', '.join(tried)}" if tried else "there is none here"
        super().__init__(f"it is sealed for {', '.join(sealed_for)}, and of their private keys {here}")
        self.sealed_for = tuple(sealed_for)


class Damaged(Exception):
    """Its bytes are not what was sealed."""


@dataclass(frozen=True)
class Sealed:
    """The digests of what was sealed, and of the file that holds it."""

    plain: Digest
    file: Digest


def seal(plain: Path, sealed: Path, keys: BackupKeys) -> Sealed:
    """Seal a file of any size for the keys' recipients, in constant memory. It blocks."""
    with plain.open("rb") as source, _private(sealed) as file:
        reading, writing = _Hashed(source), _Hashed(file)
        writing.write(_MAGIC + " ".join(keys.recipients).encode() + b"\n")
        with _own_words(reading, writing):
            encrypt_io(reading, writing, keys.sealing())
    return Sealed(reading.digest(), writing.digest())


def unseal(sealed: Path, target: Path | None, keys: BackupKeys) -> Digest:
    """Open a sealed file into `target`, which appears whole or not at all; the digest of what was sealed.

    Without a target it is read to its end and goes nowhere. Raises NotOpened and Damaged. It blocks.
    """
    part = None if target is None else target.with_name(target.name + ".part")
    with sealed.open("rb") as file:
        recipients = _recipients(file)
        if not keys.opens & set(recipients):
            raise NotOpened(recipients, sorted(keys.opens))
        reading = _Hashed(file)
        try:
            with _private(part or Path(os.devnull)) as opened:
                writing = _Hashed(opened)
                with _own_words(reading, writing):
                    decrypt_io(reading, writing, keys.opening())
            if part is not None and target is not None:
                part.replace(target)
        finally:
            if part is not None:
                part.unlink(missing_ok=True)
    return writing.digest()


def is_sealed(file: Path) -> bool:
    """False for a dump as it was kept before backups were sealed."""
    with file.open("rb") as opened:
        return opened.read(len(_MAGIC)) == _MAGIC


def _recipients(file: IO[bytes]) -> tuple[str, ...]:
    head = file.readline(_HEAD_BYTES_MAX)
    if not head.startswith(_MAGIC) or not head.endswith(b"\n"):
        raise Damaged("it does not begin as a sealed backup does")
    return tuple(head[len(_MAGIC) :].decode(errors="replace").split())


def _private(path: Path) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, FILE_MODE), "wb", _BUFFER_BYTES)


@contextmanager
def _own_words(*files: "_Hashed") -> Iterator[None]:
    """pyrage's errors as ours: the disk's OSError, or Damaged."""
    try:
        yield
    except (DecryptError, EncryptError, OSError) as error:
        for each in files:
            if each.failed is not None:
                raise each.failed from error
        raise Damaged(f"it does not open, though its key is here: {error}") from error


class _Hashed:
    """A file whose bytes are digested on their way; pyrage asks for no more of one than this."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.failed: OSError | None = None
        """Why the disk said no: pyrage hands on its words alone."""

    def read(self, size: int = -1) -> bytes:
        with self._noticed():
            data = self._file.read(size)
        self._hash.update(data)
        return data

    def write(self, data: Any) -> int:
        self._hash.update(data)
        with self._noticed():
            return self._file.write(data)

    def flush(self) -> None:
        with self._noticed():
            self._file.flush()

    @contextmanager
    def _noticed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failed = error
            raise

    def digest(self) -> Digest:
        return self._hash.hexdigest()
