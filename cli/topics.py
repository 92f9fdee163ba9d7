"""`upgradepath topics …`: make them, see how they stand, read what is on them.

The broker's client is imported where it is used: the other commands start without it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.access import Principals, acl, show_states, write_rules
from cli.asking import AsJson
from cli.backlog import dead, lag
from cli.broker import Broker, broker_settings, with_broker
from cli.output import say, show_json, table, text
from cli.pools import Pools, known_pools
from shared.contracts.topics import all_topics

if TYPE_CHECKING:
    from shared.messaging.access_lists import RuleState
    from shared.messaging.topic_admin import TopicState

app = typer.Typer(help="The Kafka topics: make them, see how they stand, read what is on them.")


@app.command("create")
def create(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be made or altered, and change nothing.")
    ] = False,
    access: Annotated[
        bool, typer.Option("--acl", help="Write the access lists too, and remove stale ones of ours.")
    ] = False,
    pools: Pools = None,
    principals: Principals = None,
    bootstrap_servers: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Make every topic that is missing, and give those that are there their settings: retention and sizes.

    How many partitions a topic has is never changed: exit 1 when one has another number than declared.
    """
    from shared.messaging.topic_admin import create_topics, describe_topics

    work = describe_topics if dry_run else create_topics
    settings = broker_settings(bootstrap_servers)
    states = with_broker(settings, work(settings, known_pools(pools)))
    rules = write_rules(settings, pools, principals, dry_run=dry_run) if access else []
    _show(states, as_json, rules)
    if any(state.state == "differs" for state in states):
        raise typer.Exit(1)


@app.command("list")
def list_topics(pools: Pools = None, bootstrap_servers: Broker = None, as_json: AsJson = False) -> None:
    """How each topic stands at the broker; exit 1 when one is missing or differs."""
    from shared.messaging.topic_admin import describe_topics

    settings = broker_settings(bootstrap_servers)
    states = with_broker(settings, describe_topics(settings, known_pools(pools)))
    _show(states, as_json)
    if any(state.state in {"missing", "outdated", "differs"} for state in states):
        raise typer.Exit(1)


@app.command("tail")
def tail(
    topic: Annotated[
        str, typer.Argument(metavar="TOPIC", help="Its whole name, or a part that only one topic has.")
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    bootstrap_servers: Broker = None,
) -> None:
    """Every record of a topic from its beginning, one JSON document a line; no consumer is disturbed."""
    from shared.messaging.topic_reader import describe, read_topic

    topics = all_topics(known_pools())
    found = [known for known in topics if known.name == topic] or [
        known for known in topics if topic in known.name
    ]
    if len(found) != 1:
        names = ", ".join(known.name for known in found or topics)
        raise typer.BadParameter(f"{topic!r} names {len(found)} topics; choose one of: {names}")

    settings = broker_settings(bootstrap_servers)

    async def print_all() -> None:
        async for record in read_topic(settings, found[0], follow=follow):
            typer.echo(json.dumps(describe(record), ensure_ascii=False))

    with_broker(settings, print_all(), within_s=None)


@app.command("dump")
def dump(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Gets one JSON-lines file per topic.")],
    bootstrap_servers: Broker = None,
) -> None:
    """Write what is on every topic to files."""
    from shared.messaging.topic_reader import dump_topics

    settings = broker_settings(bootstrap_servers)
    counts = with_broker(settings, dump_topics(settings, folder, known_pools()), within_s=None)
    for topic, count in counts.items():
        say(f"{count:>6}  {folder / topic}.jsonl")


app.command("lag")(lag)
app.command("dead")(dead)
app.command("acl")(acl)


def _show(states: "list[TopicState]", as_json: bool, rules: "Sequence[RuleState]" = ()) -> None:
    if as_json:
        topics = [
            {
                "topic": state.topic.name,
                "state": state.state,
                "partitions": state.partitions,
                "differences": [vars(one) for one in state.differences],
            }
            for state in states
        ]
        show_json([*topics, *(vars(rule) for rule in rules)])
        return
    colours = {"made": "green", "altered": "green", "was there": ""}
    rows = [
        (
            state.topic.name,
            text(state.state, colours.get(state.state, "bold red")),
            _partitions(state),
            state.topic.key,
            "forever" if state.topic.retention_ms < 0 else f"{state.topic.retention_ms // 86_400_000} days",
        )
        for state in states
    ]
    table(("topic", "state", "partitions", "key", "kept"), rows, empty="there are no topics")
    for state in states:
        for one in state.differences:
            say(f"{state.topic.name}: {one.name} {one.found} → {one.wanted}")
    if rules:
        show_states(rules, as_json)


def _partitions(state: "TopicState") -> str:
    if state.state != "differs":
        return str(state.partitions)
    return f"{state.partitions}, not {state.topic.partitions}: never changed"
