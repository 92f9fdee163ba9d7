"""In-toto statements (v1): about which bytes something is said, and what. The envelope says who says it."""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, JsonValue, ValidationError

from shared.contracts.envelope import explain
from shared.contracts.values import Contract, SystemName, Timestamp, Version
from shared.identity.keys import SigningKey
from shared.signing.envelope import BYTES_MAX, Envelope, Unproven, strict_json

STATEMENT: Final = "https://in-toto.io/Statement/v1"
_KINDS: Final = "https://upgradepath.example/attestation/"
RELEASE: Final = _KINDS + "release/v1"
RECEIPT: Final = _KINDS + "receipt/v1"
PLAN: Final = _KINDS + "plan/v1"
RUN: Final = _KINDS + "run/v1"
VERSION_MAP: Final = _KINDS + "version-map/v1"

P = TypeVar("P", bound=Contract)


class Subject(Contract):
    """A name, and the sha256 of what has it."""

    name: str = Field(max_length=1000)
    digest: dict[str, Annotated[str, Field(max_length=200)]]

    @property
    def sha256(self) -> str:
        return self.digest.get("sha256", "")


class Statement(Contract):
    """What is said of some subjects: a predicate of a certain type."""

    kind: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Subject, ...] = Field(min_length=1, max_length=10)
    predicate_type: str = Field(alias="predicateType", max_length=200)
    predicate: dict[str, JsonValue]

    @classmethod
    def read(cls, payload: bytes) -> "Statement":
        """The statement of an envelope's payload. Raises `Unproven`."""
        document = strict_json(payload, "the statement")
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise Unproven(f"not an in-toto statement: {explain(error)}") from None

    def says(self, predicate_type: str, kind: type[P]) -> P:
        """The predicate, if it is of this type. Raises `Unproven`."""
        if self.predicate_type != predicate_type:
            raise Unproven(f"it is a statement of the type {self.predicate_type!r}, not {predicate_type!r}")
        try:
            # From JSON, where a moment is a text.
            return kind.model_validate_json(json.dumps(self.predicate))
        except ValidationError as error:
            raise Unproven(
                f"the statement's predicate is not of {predicate_type}: {explain(error)}"
            ) from None

    def must_be_of(self, subjects: Iterable[tuple[str, str]]) -> None:
        """Raise `Unproven` unless it is about just these names and digests, in this order."""
        found = [(subject.name, subject.sha256) for subject in self.subject]
        wanted = list(subjects)
        if found != wanted:
            raise Unproven(f"it is signed for {_words(found)}, not for {_words(wanted)}")


class Builder(Contract):
    """Who made a package out of its sources."""

    id: str = Field(min_length=1, max_length=1000)


class ReleasePredicate(Contract):
    """The Library's word: these bytes are this version of this System."""

    system: SystemName
    version: Version
    builder: Builder
    signed_at: Timestamp = Field(description="by the signer's own clock: the receipt's time decides")


class ReceiptPredicate(Contract):
    """The registry's word: it has seen this envelope at that time, by its database's clock."""

    system: SystemName
    version: Version
    kid: str = Field(description="the Library's key that proved the envelope then")
    seen_at: Timestamp


class PlanPredicate(Contract):
    """The planner's word: this is a Run's plan. The subject is its digest."""

    plan: dict[str, JsonValue]


class RunPredicate(Contract):
    """The planner's word: so a Run stood, and this is its candidate. The subjects are their digests."""

    run: dict[str, JsonValue]
    candidate: dict[str, JsonValue] | None = None
    exported_at: Timestamp


class VersionMapPredicate(Contract):
    """The registry's word: it recorded these pins. The subject is the version map's digest."""

    version_map: dict[str, JsonValue]
    recorded_by: str = Field(description="the event, for instance VersionMapRecorded")


def package_name(system: str, version: str) -> str:
    """The name of a package as a statement's subject."""
    return f"{system}-{version}.tar.gz"


def sign_statement(
    predicate_type: str,
    subjects: Iterable[tuple[str, str]],
    predicate: dict[str, Any],
    keys: Iterable[SigningKey],
) -> bytes:
    """An envelope, as JSON, of what is said of the subjects, which are names with their sha256."""
    document = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    payload = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Envelope.signed(payload.encode(), keys).json()


def read_exported(data: bytes) -> tuple[Envelope, Statement]:
    """An exported envelope and its statement, which nobody has verified yet. Raises `Unproven`."""
    envelope = Envelope.read(data, bytes_max=BYTES_MAX)
    return envelope, Statement.read(envelope.payload)


def _words(subjects: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {digest[:12]}…" for name, digest in subjects)
