"""The small values that messages are made of, and the base classes of every contract."""

import hashlib
import json
from datetime import datetime
from functools import cache, lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, JsonValue
from pydantic_core import CoreSchema
from semver import Version as SemanticVersion

from shared.contracts.bounded import bound_collections
from shared.contracts.topics import Topic

SystemName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$", examples=["auth-system"])]
ProjectId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$", examples=["acme-portal"])]
PoolName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$", examples=["acme"])]
RunId = Annotated[str, Field(pattern=r"^run-[0-9a-f]{12}$", examples=["run-1b9d6bcd4f21"])]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="sha256 in hexadecimal")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$", description="a Git object's name")]
Timestamp = Annotated[datetime, Field(description="UTC, RFC 3339")]
StageName = Literal[
    "review",
    "prepare",
    "apply",
    "migrate",
    "validate",
    "check-workflows",
    "prove-backup",
    "deploy",
    "record",
    "roll-back",
]


@lru_cache(maxsize=4096)
def _semantic(text: str) -> str:
    SemanticVersion.parse(text)
    return text


Version = Annotated[
    # Its length is looked at first: what was read once is remembered.
    str,
    Field(max_length=256, description="semver 2.0", examples=["1.3.0"]),
    AfterValidator(_semantic),
]


SentBy = Literal["person", "service"]

C = TypeVar("C", bound="Contract")


TEXT_MAX = 4 << 20
"""Characters of a text for which its field says nothing less."""
ITEMS_MAX = 100_000
"""Items of a list or mapping for which its field says nothing less."""


class Contract(BaseModel):
    """An immutable value; fields that a reader does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_max_length=TEXT_MAX)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """The same, with every list and mapping bounded: what a field does not say of itself counts here."""
        schema = handler(source)
        bound_collections(schema, ITEMS_MAX)
        return schema

    def with_(self, **changes: object) -> Self:
        """This value with some fields changed; what they are changed to is not validated."""
        return _bare(type(self), {**self.__dict__, **changes})

    def part(self, kind: type[C]) -> C:
        """This value as one of the kinds that it is made of: those fields alone."""
        names = _fields(kind)
        return _bare(kind, dict(zip(names, map(self.__dict__.__getitem__, names), strict=True)))

    def content_digest(self) -> str:
        """The sha256, in hexadecimal, of the canonical JSON: sorted keys, no spaces, UTF-8."""
        return canonical_digest(self.model_dump(mode="json"))


@cache
def _fields(kind: type[BaseModel]) -> tuple[str, ...]:
    # In their order, which is that of the JSON.
    return tuple(kind.model_fields)


@cache
def _fields_set(kind: type[BaseModel]) -> set[str]:
    # One for all of a kind: they are frozen, and a copy that pydantic makes has its own.
    return set(kind.model_fields)


def _bare(kind: type[C], values: dict[str, Any]) -> C:
    """What `model_construct` makes of values that are all there, at a twentieth of its cost.

    A Run is changed some fifty times on its way.
    """
    made = object.__new__(kind)
    _set_dict(made, values)
    _set_fields_set(made, _fields_set(kind))
    _set_extra(made, None)
    _set_private(made, None)
    return made


# Past the lookup of the attribute, which costs as much as all the rest.
_set_dict = BaseModel.__dict__["__dict__"].__set__
_set_fields_set = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__


class Message(Contract):
    """What crosses a topic. `topic` says where; `key` keeps one subject's messages in order."""

    topic: ClassVar[Topic]
    sent_by: ClassVar[SentBy] = "service"
    """Who proves it on a topic: a person by a token, or a service by its signature."""

    @classmethod
    def read(cls, body: bytes) -> Self:
        """The message of a JSON body. Raises pydantic's ValidationError."""
        return cls.model_validate_json(body)

    @classmethod
    def type_name(cls) -> str:
        """The CloudEvents type, for instance `upgrades.ReleasePublished.v1`."""
        return f"upgrades.{cls.__name__}.v1"

    def key(self) -> str:
        """The Kafka key, which is also the CloudEvents subject."""
        raise TypeError(f"{type(self).__name__} has no key")

    def route(self) -> Topic:
        """The topic on which this message is sent."""
        return self.topic

    def identity(self) -> str | None:
        """What names this message's intent for good; none where its cause alone does."""
        return None

    def body(self) -> bytes:
        """The JSON that travels."""
        return self.__pydantic_serializer__.to_json(self, by_alias=True)


class Actor(Contract):
    """Who asks. The signed token that comes with a command proves it, over HTTP and on a topic."""

    id: str = Field(min_length=1, max_length=200, examples=["mira@acme.example"])
    role: Literal["library", "maintainer", "sre"]
    projects: tuple[ProjectId, ...] = ()

    def may_act_for(self, project: str) -> bool:
        return self.role == "sre" or (self.role == "maintainer" and project in self.projects)


class Command(Message):
    """Asks for something. The answer is an event, or `CommandRefused` on the topic `answers`.

    A person's command on a topic carries its actor's token (`ce_authorization`); a service signs its own.
    """

    sent_by: ClassVar[SentBy] = "person"
    answers: ClassVar[Topic]
    actor: Actor


def canonical_json(value: JsonValue | dict[str, Any]) -> str:
    """A JSON value in its one canonical spelling: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical_digest(value: JsonValue | dict[str, Any]) -> str:
    """The sha256, in hexadecimal, of a JSON value in its one canonical spelling."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
