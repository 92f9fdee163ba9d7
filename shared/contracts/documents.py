"""The contracts as documents for those who do not read Python: JSON Schema per message, and AsyncAPI.

Sources: https://json-schema.org/draft/2020-12, https://www.asyncapi.com/docs/reference/specification/v3.0.0
and https://github.com/asyncapi/bindings/tree/master/kafka (0.5.0).
"""

import inspect
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import yaml

from shared.contracts.catalogue import MESSAGES
from shared.contracts.envelope import CONTENT_TYPE, SPEC_VERSION, TOKEN_BYTES_MAX
from shared.contracts.header_names import TOKEN
from shared.contracts.refusals import CommandRefused
from shared.contracts.topics import Topic, all_topics, in_pool
from shared.contracts.values import Command, Message

SCHEMAS_URL = "https://schemas.upgradepath.example"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SCHEMA_FORMAT = "application/schema+json;version=2020-12"
_BINDINGS = "0.5.0"


@dataclass(frozen=True)
class Participant:
    """Somebody at the topics: which messages it reads, and on which topics it writes.

    A pool's workers are participants of their own, `executor.acme`, and read that pool's topics.
    """

    name: str
    reads: tuple[type[Message], ...]
    writes: tuple[Topic, ...]
    pool: str | None = None


POOL_PARAMETER = "{pool}"
"""Stands for every pool in the names of a document."""


def file_name(message: type[Message]) -> str:
    """The name of a message's schema and of its golden file, for instance `ReleasePublished.v1.json`."""
    return f"{message.type_name().removeprefix('upgrades.')}.json"


def messages_on(topic: Topic) -> tuple[type[Message], ...]:
    """Every message that may lie on a topic. A refusal lies wherever commands are answered."""
    lies_on = partial(in_pool, pool=topic.pool)
    answers = {message.answers for message in MESSAGES if issubclass(message, Command)}
    return tuple(
        message
        for message in MESSAGES
        if (hasattr(message, "topic") and lies_on(message.topic) == topic)
        or (message is CommandRefused and topic in answers)
    )


def topics_read(participant: Participant) -> tuple[Topic, ...]:
    """The topics on which something lies that is for this participant."""
    return tuple(topic for topic in _all([participant]) if _read_on(topic, participant))


def json_schemas() -> dict[str, str]:
    """One JSON Schema (2020-12) per message, by file name; each ends with a newline."""
    return {file_name(message): _schema(message) for message in MESSAGES}


def asyncapi(participants: Sequence[Participant], schemas: str = "./schemas") -> str:
    """An AsyncAPI 3.0 document in YAML; it refers to the JSON Schemas in the folder `schemas`."""
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "upgradepath",
            "version": "1.0.0",
            "description": (
                "Messages by which partner Projects adopt new versions of the Business Systems that they "
                "pin. Every message is a CloudEvents 1.0 event in Kafka's binary mode: the attributes are "
                "headers, the body is JSON. Contracts only grow: ignore the fields that you do not know."
            ),
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "kafka": {
                "host": "{host}",
                "protocol": "kafka",
                "variables": {"host": {"default": "127.0.0.1:9092"}},
            }
        },
        "channels": {_channel_id(topic): _channel(topic) for topic in _all(participants)},
        "operations": _operations(participants),
        "components": {
            "messages": {
                **{message.__name__: _message(message, schemas) for message in MESSAGES},
                "DeadLetter": _dead_letter(),
            },
            "schemas": {"CloudEventHeaders": _headers(), "PersonsToken": _persons_token()},
        },
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def _schema(message: type[Message]) -> str:
    schema = message.model_json_schema(by_alias=True, mode="validation")
    about = {
        "$schema": _DIALECT,
        "$id": f"{SCHEMAS_URL}/{file_name(message)}",
        "title": message.__name__,
        "description": _about(message),
    }
    return json.dumps({**about, **_without(schema, about)}, indent=2, ensure_ascii=False) + "\n"


def _without(schema: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name not in set(keys)}


def _about(message: type[Message]) -> str:
    return inspect.cleandoc(message.__doc__ or "")


# --- AsyncAPI ------------------------------------------------------------------------------------


def _channel_id(topic: Topic) -> str:
    """`release-events` for `upgrades.release.events.v1`."""
    name = topic.name.removeprefix("upgrades.").rsplit(".", 1)[0]
    return name.replace(POOL_PARAMETER, "pool").replace(".", "-")


def _all(participants: Sequence[Participant]) -> tuple[Topic, ...]:
    return all_topics({one.pool: None for one in participants if one.pool is not None})


def _names_on(topic: Topic) -> tuple[str, ...]:
    if topic.holds_dead_letters:
        return ("DeadLetter",)
    return tuple(message.__name__ for message in messages_on(topic))


def _channel(topic: Topic) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": topic.name,
        "description": f"The key is: {topic.key}. Messages of one key keep their order.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _names_on(topic)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {"cleanup.policy": ["delete"], "retention.ms": topic.retention_ms},
                "bindingVersion": _BINDINGS,
            }
        },
    }
    if POOL_PARAMETER in topic.name:
        channel["parameters"] = {"pool": {"description": "the name of a worker pool"}}
    return channel


def _operations(participants: Sequence[Participant]) -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for one in participants:
        name = one.name.replace(f".{POOL_PARAMETER}", "-pool")
        for topic in _all(participants):
            reads = _read_on(topic, one)
            if reads:
                receive = _operation("receive", topic, reads)
                receive["summary"] = f"{one.name} reads."
                group = {"type": "string", "const": topic.group(one.name)}
                receive["bindings"] = {"kafka": {"groupId": group, "bindingVersion": _BINDINGS}}
                operations[f"{name}.receive.{_channel_id(topic)}"] = receive
            if topic in one.writes:
                send = _operation("send", topic, _names_on(topic))
                send["summary"] = f"{one.name} writes."
                operations[f"{name}.send.{_channel_id(topic)}"] = send
    return operations


def _read_on(topic: Topic, participant: Participant) -> tuple[str, ...]:
    """What of a topic is for this participant. Nobody reads a topic for the refusals alone."""
    # Nobody but its own workers reads a pool's topic.
    names = [
        message
        for message in messages_on(topic)
        if message in participant.reads and participant.pool == topic.pool
    ]
    own = [message for message in names if message is not CommandRefused]
    return tuple(message.__name__ for message in names) if own else ()


def _operation(action: str, topic: Topic, names: Iterable[str]) -> dict[str, Any]:
    channel = f"#/channels/{_channel_id(topic)}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in names],
    }


def _message(message: type[Message], schemas: str) -> dict[str, Any]:
    return {
        "name": message.type_name(),
        "title": message.__name__,
        "summary": _about(message),
        "contentType": CONTENT_TYPE,
        "headers": {
            "allOf": [
                {"$ref": "#/components/schemas/CloudEventHeaders"},
                {"type": "object", "properties": {"ce_type": {"const": message.type_name()}}},
                *([{"$ref": "#/components/schemas/PersonsToken"}] if message.sent_by == "person" else []),
            ]
        },
        "payload": {
            "schemaFormat": _SCHEMA_FORMAT,
            "schema": {"$ref": f"{schemas}/{file_name(message)}"},
        },
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": _BINDINGS}},
    }


def _dead_letter() -> dict[str, Any]:
    return {
        "name": "DeadLetter",
        "title": "DeadLetter",
        "summary": "A record that could not be read or handled: its original bytes and headers, and why.",
        "contentType": "application/octet-stream",
        "payload": {},
    }


def _headers() -> dict[str, Any]:
    def text(about: str, **more: str) -> dict[str, str]:
        return {"type": "string", "description": about, **more}

    return {
        "type": "object",
        "description": "CloudEvents 1.0 in Kafka's binary mode. Values are UTF-8.",
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time"],
        "properties": {
            "ce_specversion": {"type": "string", "const": SPEC_VERSION},
            "ce_id": text("names the intent: the same id is the same message, handled once"),
            "ce_source": text("who sent it; ids are unique within it, and a person's within that person"),
            "ce_type": text("which message it is"),
            "ce_subject": text("the Kafka key"),
            "ce_time": text("when it was made", format="date-time"),
            "ce_correlationid": text("the Run that it belongs to"),
            "ce_causationid": text("the id of the message that caused it"),
            "ce_traceparent": text("W3C trace context"),
            "ce_proof": text("a service's key id and its Ed25519 signature, in messages of services"),
            "content-type": {"type": "string", "const": CONTENT_TYPE},
        },
    }


def _persons_token() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A person's command is refused without it; it is not kept (commands.md).",
        "required": [TOKEN],
        "properties": {
            TOKEN: {
                "type": "string",
                "maxLength": TOKEN_BYTES_MAX,
                "description": "the actor's signed JWT, valid when the broker takes the record",
            }
        },
    }
