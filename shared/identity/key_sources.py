"""Where a service has public keys from: a text, a file that is read again when it changes, or an address.

Keys that cannot be read again count for a bounded term and then no longer: a key that its issuer has taken
away must not count for ever because somebody keeps the issuer from saying so.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from shared.identity.keys import PublicKeys, UnusableKey
from shared.identity.published_keys import published_keys
from shared.identity.watched_files import Stamp, stamp

log = logging.getLogger(__name__)

KEPT_H = 24.0
"""How long keys count while they cannot be read again, unless an issuer's settings say less."""
FILE_BYTES_MAX = 1024 * 1024
NO_KEYS = PublicKeys({})
OWN = "own"
"""The name of the keys that are not an issuer's."""


class KeySource(Protocol):
    """Some public keys that may change while the process runs."""

    def keys(self) -> PublicKeys:
        """Those that count now."""

    def version(self) -> object:
        """Another one whenever `keys` may be others."""

    def trouble(self) -> str | None:
        """What is wrong with them, in a sentence for whoever operates the service."""


class FixedKeys:
    """Keys that were given as a text."""

    def __init__(self, keys: PublicKeys) -> None:
        self._keys = keys

    def keys(self) -> PublicKeys:
        return self._keys

    def version(self) -> object:
        return 0

    def trouble(self) -> str | None:
        return None


class HeldKeys:
    """The keys that were read last; they count until `kept_s` after that moment."""

    def __init__(self, where: str, kept_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.where = where
        self._kept_s = kept_s
        self._clock = clock
        self._keys = NO_KEYS
        self._read_s: float | None = None
        self._version = 0
        self._why: str | None = "they have not been read yet"
        self._notes: str | None = None

    def take(self, keys: PublicKeys, notes: str | None = None) -> None:
        """They were read: those that are not among them count no longer. `notes` says what was left out."""
        if keys != self._keys:
            self._version += 1
        self._keys, self._read_s, self._why, self._notes = keys, self._clock(), None, notes

    def miss(self, why: str) -> None:
        """They could not be read."""
        if self._why is None:
            log.warning("the keys of %s cannot be read, the last ones count: %s", self.where, why)
        self._why = why

    def age_s(self) -> float | None:
        """How long ago they were read; None when they never were."""
        return None if self._read_s is None else self._clock() - self._read_s

    def keys(self) -> PublicKeys:
        return NO_KEYS if self._is_over() else self._keys

    def version(self) -> object:
        return self._version, self._is_over()

    def trouble(self) -> str | None:
        age_s = self.age_s()
        if self._why is None and not self._is_over():
            return self._notes
        if age_s is None:
            return f"there are no keys of {self.where}: {self._why}"
        if self._is_over():
            return f"the keys of {self.where} count no longer, after {age_s / 3600:.0f} h: {self._why}"
        left_h = (self._kept_s - age_s) / 3600
        return f"the keys of {self.where} are {age_s:.0f} s old and count {left_h:.1f} h more: {self._why}"

    def _is_over(self) -> bool:
        return self._read_s is None or self._clock() - self._read_s > self._kept_s


class KeyFile(HeldKeys):
    """The keys of a file, read again when it is another one: a rotation needs no restart.

    An issuer's file may hold keys that we do not use; one of ours may not.
    """

    def __init__(
        self,
        path: Path,
        kept_s: float = KEPT_H * 3600,
        *,
        of_an_issuer: bool = False,
        name: str = OWN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises OSError and ValueError when there is no key to begin with."""
        super().__init__(name, kept_s, clock)
        self._path = path
        self._of_an_issuer = of_an_issuer
        self._seen: Stamp | None = None
        self._read()

    def keys(self) -> PublicKeys:
        self._look()
        return super().keys()

    def version(self) -> object:
        self._look()
        return super().version()

    def trouble(self) -> str | None:
        self._look()
        return super().trouble()

    def _look(self) -> None:
        try:
            if stamp(self._path) == self._seen:
                # It says the same as ever, so its keys are as fresh as the file.
                if self._why is None:
                    self._read_s = self._clock()
                return
            self._read()
        except OSError as error:
            # When it is there again it is read, though it be the very same file.
            self._seen = None
            self.miss(_reason(error))
        except ValueError as error:
            self.miss(_reason(error))

    def _read(self) -> None:
        state = stamp(self._path)
        with self._path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        # What is in it now has been looked at, whatever it is worth.
        self._seen = state
        if len(data) > FILE_BYTES_MAX:
            raise ValueError(f"it has more than {FILE_BYTES_MAX} bytes")
        text = data.decode()
        keys, notes = published_keys(text) if self._of_an_issuer else (PublicKeys.load(text), None)
        if not keys.by_kid:
            raise UnusableKey("there is no key in it: make one with `upgradepath key new`")
        self.take(keys, notes)


def _reason(error: Exception) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
