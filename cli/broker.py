"""Where the broker is, and every way in which asking it can end."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.output import note
from cli.world import NoAnswer, announced_world
from shared.errors import not_found

if TYPE_CHECKING:
    from shared.settings import KafkaSettings

T = TypeVar("T")

Broker = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        help="The broker; else UPGRADES_KAFKA_BOOTSTRAP_SERVERS, else the local world's.",
    ),
]


def broker_settings(bootstrap_servers: str | None) -> "KafkaSettings":
    """The option first, then the environment, then the local world."""
    from shared.settings import KafkaSettings

    world = announced_world()
    if bootstrap_servers:
        return KafkaSettings(bootstrap_servers=bootstrap_servers)
    settings = KafkaSettings()
    if "bootstrap_servers" in settings.model_fields_set or world is None or world.bootstrap_servers is None:
        return settings
    note(f"the local world's broker: {world.bootstrap_servers}")
    return KafkaSettings(bootstrap_servers=world.bootstrap_servers, embedded=True)


def with_broker(work: Coroutine[Any, Any, T]) -> T:
    """What the work comes to. Raises `Reject` for a topic that is not there, `NoAnswer` for a broker."""
    import uvloop
    from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

    try:
        return uvloop.run(work)
    except UnknownTopicOrPartitionError as error:
        raise not_found(
            str(error.args[0]), field="topic", cure="make it: upgradepath topics create"
        ) from error
    except (KafkaError, OSError) as error:
        raise NoAnswer(
            f"the broker does not answer: {error!r}",
            "start it, or say where it is: --bootstrap-servers or UPGRADES_KAFKA_BOOTSTRAP_SERVERS",
        ) from error
