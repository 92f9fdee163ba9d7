"""What proves people's tokens: our own keys, identity providers, what was revoked, how long one may last."""

import json
import tomllib
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field, PlainValidator, ValidationError, ValidationInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.contracts.envelope import explain
from shared.identity.issuer_keys import KeysAtUrl
from shared.identity.issuers import VALID_AT_MOST_H, IssuerFile, IssuerSettings
from shared.identity.key_fetching import KeyClient, require_address
from shared.identity.key_sources import KEPT_H, OWN, FixedKeys, KeyFile, KeySource
from shared.identity.keys import MOVE_TO_KEY_PAIRS, PublicKeys
from shared.identity.revoked import RevokedTokens
from shared.identity.tokens import TokenVerifier, TrustedIssuer

_FILE_BYTES_MAX = 1024 * 1024
_OWN = "UPGRADES_TOKEN_PUBLIC_KEYS"
_URLS = ("https://", "http://")
_NEEDS_KEYS = (
    f"Field required: {_OWN} names the public keys that prove people's tokens (`upgradepath key new` makes"
    " them); or UPGRADES_TOKEN_ISSUERS names identity providers"
)

KeysGiven = PublicKeys | Path | str
"""The keys themselves, their file, or their URL."""


def public_keys(given: object) -> PublicKeys:
    """Public keys: themselves, a JWK Set or PEM text, or the path of a file with one. Raises ValueError."""
    if isinstance(given, PublicKeys):
        return given
    text = str(given).strip()
    if not _is_text_of_keys(text):
        text = _read(Path(text))
    keys = PublicKeys.load(text)
    if not keys.by_kid:
        raise ValueError("there is no key in it: make one with `upgradepath key new`")
    return keys


def issuers_in(given: object) -> tuple[IssuerSettings, ...]:
    """The issuers of a TOML or JSON file. Raises ValueError with what is wrong in it."""
    path = Path(str(given))
    text = _read(path, "not a readable file")
    try:
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from error
    try:
        return IssuerFile.model_validate(document).issuers
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error)}") from error


def _keys_given(given: object, info: ValidationInfo) -> KeysGiven | None:
    if given in (None, ""):
        # Without either nobody could ever be proven.
        if "token_issuers" in info.data and not info.data["token_issuers"]:
            raise ValueError(_NEEDS_KEYS)
        return None
    if isinstance(given, str) and given.strip().startswith(_URLS):
        return given.strip()
    keys = public_keys(given)
    if isinstance(given, PublicKeys) or _is_text_of_keys(str(given).strip()):
        return keys
    return Path(str(given).strip())


def _is_text_of_keys(text: str) -> bool:
    return text.startswith("{") or "-----BEGIN" in text


def _read(path: Path, otherwise: str = "not a JWK Set, not a PEM public key, and not a readable file") -> str:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{otherwise} ({type(error).__name__})") from error


def _issuers_given(given: object) -> tuple[IssuerSettings, ...]:
    if isinstance(given, tuple):
        return given
    return issuers_in(given) if given not in (None, "") else ()


def _no_shared_secret(given: object) -> None:
    """A setting that was once there; an empty one is as good as none."""
    if given not in (None, ""):
        raise ValueError(f"take UPGRADES_TOKEN_KEY away. {MOVE_TO_KEY_PAIRS} ({_OWN})")


class TokenSettings(BaseSettings):
    """How people's tokens are proven. The same variables for all five services."""

    model_config = SettingsConfigDict(
        env_prefix="UPGRADES_",
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    token_issuers: Annotated[tuple[IssuerSettings, ...], NoDecode, PlainValidator(_issuers_given)] = Field(
        default=(), description="a TOML or JSON file that describes identity providers"
    )
    token_public_keys: Annotated[PublicKeys | Path | str | None, NoDecode, PlainValidator(_keys_given)] = (
        Field(
            default=None,
            validate_default=True,
            description="prove people's tokens: a JWK Set or PEM public keys, or the path or URL of them",
        )
    )
    token_revoked: Path | None = Field(
        default=None, description="a file with a revoked `jti` on each line, or `before TIME SUBJECT`"
    )
    token_valid_at_most_h: float = Field(
        default=VALID_AT_MOST_H, gt=0, le=VALID_AT_MOST_H, description="a token that lasts longer is refused"
    )
    token_key: Annotated[None, NoDecode, PlainValidator(_no_shared_secret)] = Field(
        default=None, description="ended: services hold public keys only", repr=False
    )
    allow_plaintext: bool = Field(
        default=False, description="what leaves this machine may be unencrypted, wherever it goes"
    )

    def token_verifier(self, *, with_revoked: bool = True) -> TokenVerifier:
        """Proves people's tokens as these settings say. Raises OSError and ValueError.

        Keys at an address are not read yet: `KeyRefresher` does that. Without `with_revoked` a token counts
        that was revoked later: the past is read with it.
        """
        revoked = RevokedTokens(self.token_revoked) if with_revoked and self.token_revoked else None
        return TokenVerifier(
            self._own_keys(),
            revoked,
            [TrustedIssuer(each, self._keys_of(each)) for each in self.token_issuers],
            timedelta(hours=self.token_valid_at_most_h),
        )

    def _own_keys(self) -> KeySource:
        given = self.token_public_keys
        if isinstance(given, Path):
            return KeyFile(given)
        if isinstance(given, str):
            return self._at(given, OWN, KEPT_H, None)
        return FixedKeys(given or PublicKeys({}))

    def _keys_of(self, issuer: IssuerSettings) -> KeySource:
        require_address(issuer.issuer, allow_plaintext=self.allow_plaintext)
        if issuer.keys is None:
            client = KeyClient(issuer.ca_file, allow_plaintext=self.allow_plaintext)
            read = partial(client.keys_of, issuer.issuer, issuer.key_hosts)
            return KeysAtUrl(issuer.name, read, issuer.keys_kept_h * 3600)
        if issuer.keys.startswith(_URLS):
            return self._at(issuer.keys, issuer.name, issuer.keys_kept_h, issuer.ca_file)
        return KeyFile(Path(issuer.keys), issuer.keys_kept_h * 3600, of_an_issuer=True, name=issuer.name)

    def _at(self, url: str, name: str, kept_h: float, ca_file: str | None) -> KeysAtUrl:
        require_address(url, allow_plaintext=self.allow_plaintext)
        client = KeyClient(ca_file, allow_plaintext=self.allow_plaintext)
        return KeysAtUrl(name, partial(client.keys_at, url), kept_h * 3600)
