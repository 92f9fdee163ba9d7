"""Kafka's access lists: what a rule is, and how the rules of our principals come to the broker.

Source of the numbers: https://kafka.apache.org/protocol, and `AclOperation`, `ResourceType`, `PatternType`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

from shared.messaging.client_arguments import client_arguments
from shared.settings import KafkaSettings

Resource = Literal["topic", "group", "cluster"]
Pattern = Literal["literal", "prefixed"]
Operation = Literal["read", "write", "create", "describe", "describe-configs", "alter-configs"]

CLUSTER = "kafka-cluster"
OURS = "upgrades."
"""Every topic and group of ours begins so."""
_ANY, _ALLOW, _EVERY_HOST = 1, 3, "*"
_RESOURCES: dict[Resource, int] = {"topic": 2, "group": 3, "cluster": 4}
_PATTERNS: dict[Pattern, int] = {"literal": 3, "prefixed": 4}
_OPERATIONS: dict[Operation, int] = {
    "read": 3,
    "write": 4,
    "create": 5,
    "describe": 8,
    "describe-configs": 10,
    "alter-configs": 11,
}


@dataclass(frozen=True, order=True)
class Rule:
    """A principal may do this to a resource, from any host; every rule allows."""

    principal: str
    resource: Resource
    name: str
    pattern: Pattern
    operation: Operation


@dataclass(frozen=True)
class RuleState:
    """What became of one rule, or would. `foreign` is not ours: it allows more, and is left to its owner."""

    rule: str
    state: Literal["made", "was there", "missing", "removed", "stale", "foreign"]


@dataclass(frozen=True)
class _Found:
    """A rule as the broker has it, by the protocol's numbers."""

    principal: str
    resource: int
    name: str
    pattern: int
    host: str
    operation: int
    permission: int


async def apply_rules(settings: KafkaSettings, rules: Sequence[Rule]) -> list[RuleState]:
    """Make the rules that are missing, and take away what else our principals are allowed on our names.

    Safe to repeat. A rule that denies stays, and so does one on a name that is not ours: it is `foreign` if
    it allows. Raises KafkaError when the broker is not there, has no access lists, or does not let us.
    """
    async with _client(settings) as client:
        wanted, found = {_found(rule) for rule in rules}, await _described(client, rules)
        missing = sorted(wanted - found, key=repr)
        stale = sorted((one for one in found - wanted if _is_stale(one)), key=repr)
        # More first: between the two a service that works goes on.
        await asyncio.gather(*(_create(client, one) for one in missing))
        await asyncio.gather(*(_delete(client, one) for one in stale))
    return _states(rules, found, "made", "removed")


async def compare_rules(settings: KafkaSettings, rules: Sequence[Rule]) -> list[RuleState]:
    """How each rule stands at the broker, which is what `apply_rules` would do."""
    async with _client(settings) as client:
        return _states(rules, await _described(client, rules), "missing", "stale")


def _states(
    rules: Iterable[Rule],
    found: set[_Found],
    missing: Literal["made", "missing"],
    stale: Literal["removed", "stale"],
) -> list[RuleState]:
    wanted = {_found(rule): rule for rule in rules}
    states = [
        RuleState(_text(one), "was there" if one in found else missing)
        for one in sorted(wanted, key=lambda one: wanted[one])
    ]
    more = sorted((one for one in found - set(wanted) if one.permission == _ALLOW), key=repr)
    return states + [RuleState(_text(one), stale if _is_stale(one) else "foreign") for one in more]


def _is_stale(one: _Found) -> bool:
    return one.permission == _ALLOW and one.name.startswith(OURS)


def _found(rule: Rule) -> _Found:
    return _Found(
        rule.principal,
        _RESOURCES[rule.resource],
        rule.name,
        _PATTERNS[rule.pattern],
        _EVERY_HOST,
        _OPERATIONS[rule.operation],
        _ALLOW,
    )


def _text(one: _Found) -> str:
    resource = {number: name for name, number in _RESOURCES.items()}.get(one.resource, f"type {one.resource}")
    operation = {number: name for name, number in _OPERATIONS.items()}.get(
        one.operation, f"operation {one.operation}"
    )
    star = "*" if one.pattern == _PATTERNS["prefixed"] else ""
    host = "" if one.host == _EVERY_HOST else f" from {one.host}"
    return f"{one.principal}{host}: {operation} {resource} {one.name}{star}"


async def _described(client: AIOKafkaClient, rules: Iterable[Rule]) -> set[_Found]:
    """Every rule that the broker has for one of these principals."""
    principals = sorted({rule.principal for rule in rules})
    answers = await asyncio.gather(
        *(_send(client, DescribeAclsRequest(_ANY, None, _ANY, one, None, _ANY, _ANY)) for one in principals)
    )
    found = set()
    for answer in answers:
        _raise_for(answer.error_code, answer.error_message)
        for kind, name, pattern, acls in answer.resources:
            found |= {_Found(who, kind, name, pattern, host, what, how) for who, host, what, how in acls}
    return found


async def _create(client: AIOKafkaClient, one: _Found) -> None:
    for code, said in (await _send(client, CreateAclsRequest(*_fields(one)))).creation_responses:
        _raise_for(code, said)


async def _delete(client: AIOKafkaClient, one: _Found) -> None:
    for code, said, _ in (await _send(client, DeleteAclsRequest(*_fields(one)))).filter_responses:
        _raise_for(code, said)


def _fields(one: _Found) -> tuple[Any, ...]:
    return one.resource, one.name, one.pattern, one.principal, one.host, one.operation, one.permission


async def _send(client: AIOKafkaClient, request: Any) -> Any:
    return await client.send(client.get_random_node(), request)


def _raise_for(code: int, said: str | None) -> None:
    if code != 0:
        raise for_code(code)(said or "the access lists")


@asynccontextmanager
async def _client(settings: KafkaSettings) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(**client_arguments(settings))
    try:
        await client.bootstrap()
        yield client
    finally:
        await client.close()
