"""The keys that prove packages: public ones with a purpose, and from when to when each is good.

A file of them is a JWK Set with these members besides: `purpose` (`library` signs packages, `receipt` is a
registry's key of before), `not_before`, `not_after`, `revoked_at` and `reason`. A key without a purpose is
refused: so no key of a service or of a person's tokens becomes one of the Library's by a wrong path.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from shared.contracts.envelope import explain
from shared.identity.keys import PublicKeys, UnusableKey
from shared.identity.watched_files import stamp
from shared.signing.envelope import Unproven, strict_json

log = logging.getLogger(__name__)

Purpose = Literal["library", "receipt"]
_BYTES_MAX = 1 << 20


class Validity(BaseModel):
    """From when to when what a key signed counts. Moments are UTC or have an offset."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    purpose: Purpose
    not_before: AwareDatetime | None = None
    not_after: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    reason: str = Field(default="", max_length=2000)

    def fault(self, at: datetime) -> str | None:
        """Why the key proves nothing at this moment; none if it is good."""
        if self.revoked_at is not None and at >= self.revoked_at:
            why = f" ({self.reason})" if self.reason else ""
            return f"was revoked from {_shown(self.revoked_at)} on{why}"
        if self.not_before is not None and at < self.not_before:
            return f"is good only from {_shown(self.not_before)} on"
        if self.not_after is not None and at > self.not_after:
            return f"was good only until {_shown(self.not_after)}"
        return None


@dataclass(frozen=True)
class TrustedKey:
    """A public key and when it is good."""

    public: Ed25519PublicKey
    validity: Validity


@dataclass(frozen=True)
class LibraryKeys:
    """Trusted keys by their ids."""

    by_kid: Mapping[str, TrustedKey] = field(default_factory=dict)

    @classmethod
    def load(cls, text: str) -> "LibraryKeys":
        """The keys of a file's text. Raises `UnusableKey`."""
        try:
            document = strict_json(text.encode(), "the Library's keys")
        except Unproven as error:
            raise UnusableKey(str(error)) from error
        listed = document.get("keys")
        if not isinstance(listed, list):
            raise UnusableKey('the Library\'s keys are an object with a list `keys`: {"keys": [...]}')
        found: dict[str, TrustedKey] = {}
        for each in listed:
            kid, key = _trusted(each)
            if kid in found:
                raise UnusableKey(f"the key {kid!r} stands twice among the Library's keys")
            found[kid] = key
        return cls(found)

    def text(self) -> str:
        """The keys as a file's text."""
        return (
            json.dumps({"keys": [_document(kid, key) for kid, key in self.by_kid.items()]}, indent=2) + "\n"
        )

    def for_(self, purpose: Purpose) -> dict[str, Ed25519PublicKey]:
        """The public keys of one purpose, whether good now or not."""
        return {kid: key.public for kid, key in self.by_kid.items() if key.validity.purpose == purpose}

    def good_one(self, kids: Iterable[str], at: datetime) -> str:
        """The first of these keys that is good at this moment. Raises `Unproven` with the fault of each."""
        faults = []
        for kid in kids:
            fault = self.by_kid[kid].validity.fault(at)
            if fault is None:
                return kid
            faults.append(f"the key {kid!r} {fault}, and it counts as of {_shown(at)}")
        raise Unproven("; ".join(faults))


class LibraryKeysFile:
    """The keys of a file, read anew when it changes: a revoked key is out without a restart."""

    def __init__(self, path: Path) -> None:
        """Raises `UnusableKey` when the file cannot be read."""
        self._path = path
        try:
            self._seen = stamp(self._path)
            self._keys = self._read()
        except OSError as error:
            raise UnusableKey(f"{path}: {error.strerror}") from error

    def now(self) -> LibraryKeys:
        """The keys. While the file cannot be read, its last text counts."""
        try:
            state = stamp(self._path)
            if state != self._seen:
                self._keys, self._seen = self._read(), state
        except (OSError, UnusableKey) as error:
            log.warning("the Library's keys cannot be read, their last text counts: %s", error)
        return self._keys

    def _read(self) -> LibraryKeys:
        with self._path.open("rb") as file:
            data = file.read(_BYTES_MAX + 1)
        if len(data) > _BYTES_MAX:
            raise UnusableKey(f"{self._path} has more than {_BYTES_MAX} bytes")
        return LibraryKeys.load(data.decode("utf-8-sig", errors="replace"))


def _trusted(document: Any) -> tuple[str, TrustedKey]:
    [(kid, public)] = PublicKeys.load(json.dumps({"keys": [document]})).by_kid.items()
    if not isinstance(public, Ed25519PublicKey):
        raise UnusableKey(f"the key {kid!r} is not an Ed25519 key: make one with `upgradepath key new`")
    if "purpose" not in document:
        raise UnusableKey(
            f"the key {kid!r} says no purpose: add it with `upgradepath release trust add`, and give"
            " no file with keys of services or of tokens here"
        )
    try:
        return kid, TrustedKey(public, Validity.model_validate(document))
    except ValidationError as error:
        raise UnusableKey(f"the key {kid!r}: {explain(error)}") from error


def _document(kid: str, key: TrustedKey) -> dict[str, Any]:
    jwk: dict[str, Any] = json.loads(PublicKeys({kid: key.public}).jwks())["keys"][0]
    said = key.validity.model_dump(mode="json", exclude_none=True)
    return jwk | {name: value for name, value in said.items() if value != ""}


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
