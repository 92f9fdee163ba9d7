"""A service's own key and the keys of the others, as its settings name them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from shared.identity.keys import PublicKeys, SigningKey, UnusableKey
from shared.identity.proofs import Signer, Verifier, named

KEY = "UPGRADES_SERVICE_KEY"
PUBLIC_KEYS = "UPGRADES_SERVICE_PUBLIC_KEYS"

T = TypeVar("T")


@dataclass(frozen=True)
class ServiceKeys:
    """What a service proves with, and whom it believes."""

    signer: Signer
    verifier: Verifier
    public: PublicKeys
    """Of all services."""

    @classmethod
    def load(cls, principal: str, key: str | None, public_keys: str | None) -> "ServiceKeys":
        """Those of `principal`. Raises `UnusableKey` with the variable and the cure.

        `key` is a PEM text, a file with one, or a folder with `<principal>.pem`; `public_keys` is a JWK Set
        or a file with one.
        """
        cure = f"`upgradepath key new --service {principal}` makes one"
        if not public_keys:
            raise UnusableKey(
                f"{PUBLIC_KEYS} is not set: name the JWK Set with the public keys of the services. {cure}"
            )
        known = _explained(PUBLIC_KEYS, lambda: PublicKeys.load(_read(public_keys, "{")))
        believed = _explained(PUBLIC_KEYS, lambda: Verifier(known))
        if not key:
            raise UnusableKey(f"{KEY} is not set: name the private key of {principal}. {cure}")
        own = _explained(KEY, lambda: SigningKey.load(_read(key, "-----BEGIN", f"{principal}.pem")))
        return cls(_explained(KEY, lambda: named(own, principal, known)), believed, known)


def verifier(public_keys: str | None) -> Verifier:
    """Whom they prove, as a JWK Set or a file with one says. Raises `UnusableKey`."""
    if not public_keys:
        raise UnusableKey(f"{PUBLIC_KEYS} is not set: name the JWK Set with the public keys of the services")
    return _explained(PUBLIC_KEYS, lambda: Verifier(PublicKeys.load(_read(public_keys, "{"))))


def principals(public_keys: str) -> tuple[str, ...]:
    """Whose keys these are. Raises `UnusableKey`."""
    return Verifier(PublicKeys.load(_read(public_keys, "{"))).principals


def _read(given: str, beginning: str, file_name: str = "") -> str:
    """The text itself, or that of the file; of a folder, of the file with that name."""
    if given.lstrip().startswith(beginning):
        return given
    path = Path(given)
    try:
        return (path / file_name if file_name and path.is_dir() else path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UnusableKey(f"{path / file_name if path.is_dir() else path}: {reason}") from error


def _explained(variable: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except UnusableKey as error:
        raise UnusableKey(f"{variable}: {error}") from error
