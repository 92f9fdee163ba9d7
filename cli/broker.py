"""Where the broker is, and every way in which asking it can end."""

import os
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.output import note
from cli.world import NoAnswer, announced_world
from shared.errors import forbidden, not_found

if TYPE_CHECKING:
    from shared.settings import KafkaSettings

T = TypeVar("T")
_WITHIN_S = 20.0
_ACCESS = "let this principal use it: upgradepath topics acl says who may do what"

Broker = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        help="The broker; else UPGRADES_KAFKA_BOOTSTRAP_SERVERS, else the local world's.",
    ),
]


def broker_settings(bootstrap_servers: str | None) -> "KafkaSettings":
    """The option first, then the environment, then the local world. Raises `NoAnswer`."""
    from pydantic import ValidationError

    from shared.contracts.envelope import explain

    try:
        return _settings(bootstrap_servers)
    except ValidationError as error:
        raise NoAnswer(f"the broker's settings are wrong: {explain(error)}", "set these variables") from error


def _settings(bootstrap_servers: str | None) -> "KafkaSettings":
    from shared.settings import KafkaSettings

    world = announced_world()
    if bootstrap_servers:
        return KafkaSettings(bootstrap_servers=bootstrap_servers)
    named = os.environ.get("UPGRADES_KAFKA_BOOTSTRAP_SERVERS")
    if named or world is None or world.bootstrap_servers is None:
        return KafkaSettings()
    note(f"the local world's broker: {world.bootstrap_servers}")
    return KafkaSettings(bootstrap_servers=world.bootstrap_servers, embedded=True)


def with_broker(
    settings: "KafkaSettings", work: Coroutine[Any, Any, T], *, within_s: float | None = _WITHIN_S
) -> T:
    """The result of work with the broker of `settings`, all of it `within_s`.

    None is for what may take long: then the broker has to answer once within the usual time beforehand.
    Raises `Reject` for a topic that is not there or not ours to see, `NoAnswer` for a broker.
    """
    import uvloop
    from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError

    from shared.messaging.connection_faults import access_fault, broker_fault

    try:
        return uvloop.run(_bounded(settings, work, within_s))
    except TimeoutError as error:
        raise NoAnswer(
            f"the broker {settings.bootstrap_servers} gave no answer within {within_s or _WITHIN_S:g} s",
            "look whether it hangs or is overloaded, and whether the address leads to it; then ask again",
            passing=True,
        ) from error
    except UnknownTopicOrPartitionError as error:
        raise not_found(
            str(error.args[0]),
            field="topic",
            cure=f"make it: upgradepath topics create; if it is there, {_ACCESS}",
        ) from error
    except (KafkaError, OSError) as error:
        denied = access_fault(settings, error)
        if denied is not None:
            raise forbidden(denied, field="principal", cure=_ACCESS) from error
        found = uvloop.run(broker_fault(settings)) if isinstance(error, KafkaConnectionError) else None
        raise NoAnswer(
            f"the broker does not answer: {found or repr(error)}",
            "start it, or say where it is: --bootstrap-servers or UPGRADES_KAFKA_BOOTSTRAP_SERVERS",
        ) from error


async def _bounded(settings: "KafkaSettings", work: Coroutine[Any, Any, T], within_s: float | None) -> T:
    import asyncio

    from shared.messaging.topic_admin import partition_counts

    if within_s is not None:
        async with asyncio.timeout(within_s):
            return await work
    try:
        async with asyncio.timeout(_WITHIN_S):
            await partition_counts(settings, ())
    except BaseException:
        work.close()
        raise
    return await work
