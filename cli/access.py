"""`upgradepath topics acl`, and what `topics create --acl` writes: who may do what at the broker."""

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.asking import AsJson
from cli.broker import Broker, broker_settings, with_broker
from cli.output import say, show_json, table, text
from cli.pools import Pools, known_pools

if TYPE_CHECKING:
    from shared.messaging.access_lists import Rule, RuleState
    from shared.settings import KafkaSettings

Principals = Annotated[
    list[str] | None,
    typer.Option(
        "--principal",
        metavar="ROLE=PRINCIPAL",
        help="Instead of User:upgrades-ROLE, for instance registry=User:CN=registry; may be repeated.",
    ),
]
_WRONG = ("missing", "stale", "foreign")


def acl(
    pools: Pools = None,
    principals: Principals = None,
    commands: Annotated[bool, typer.Option("--commands", help="As commands of kafka-acls.sh.")] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="How each stands at the broker; exit 1 unless as it must be."),
    ] = False,
    bootstrap_servers: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Who may read and write which topic: one principal per service, each with what it needs and no more.

    Without --compare no broker is asked. `topics create --acl` writes them.
    """
    rules = chosen_rules(pools, principals)
    if compare:
        from shared.messaging.access_lists import compare_rules

        settings = broker_settings(bootstrap_servers)
        states = with_broker(settings, compare_rules(settings, rules))
        show_states(states, as_json)
        if any(state.state in _WRONG for state in states):
            raise typer.Exit(1)
    elif commands:
        for command in _commands(rules):
            say(command)
    elif as_json:
        show_json([rule.__dict__ for rule in rules])
    else:
        rows = [(text(one.principal, "bold"), one.operation, one.resource, _name(one)) for one in rules]
        table(("principal", "may", "", "named"), rows, empty="there are no rules")


def write_rules(
    settings: "KafkaSettings",
    pools: Sequence[str] | None,
    principals: Sequence[str] | None,
    *,
    dry_run: bool,
) -> "list[RuleState]":
    """Bring the access lists of our principals to the broker, or say what that would do."""
    from shared.messaging.access_lists import apply_rules, compare_rules

    work = compare_rules if dry_run else apply_rules
    return with_broker(settings, work(settings, chosen_rules(pools, principals)))


def chosen_rules(pools: Sequence[str] | None, principals: Sequence[str] | None) -> "list[Rule]":
    """The rules for these pools and principals. Raises BadParameter."""
    from services.access import rules

    named: dict[str, list[str]] = {}
    for one in principals or ():
        role, _, principal = one.partition("=")
        if not principal.startswith("User:") or principal == "User:*":
            raise typer.BadParameter(f"{one!r} is not like registry=User:name", param_hint="--principal")
        named.setdefault(role, []).append(principal)
    try:
        return rules(known_pools(list(pools or ())), named)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def show_states(states: "Sequence[RuleState]", as_json: bool) -> None:
    """Each rule with what became of it."""
    if as_json:
        show_json([state.__dict__ for state in states])
        return
    colours = {"made": "green", "was there": "", "removed": "yellow"}
    table(
        ("rule", "state"),
        [(state.rule, text(state.state, colours.get(state.state, "bold red"))) for state in states],
        empty="there are no rules",
    )
    if any(state.state == "foreign" for state in states):
        say("foreign rules let a principal of ours do more than it needs; they are left to who made them")


def _name(rule: "Rule") -> str:
    return rule.name + ("*" if rule.pattern == "prefixed" else "")


def _commands(rules: "Sequence[Rule]") -> Iterator[str]:
    """One line per principal and resource, for whoever manages the broker with Kafka's own tools."""
    by_resource: dict[tuple[str, str, str, str], list[str]] = {}
    for one in rules:
        place = (one.principal, one.resource, one.name, one.pattern)
        by_resource.setdefault(place, []).append(one.operation)
    start = 'kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --command-config admin.properties --add'
    for (principal, resource, name, pattern), operations in by_resource.items():
        words = ["--allow-principal", principal, f"--{resource}", name, "--resource-pattern-type", pattern]
        for operation in operations:
            words += ["--operation", "".join(part.capitalize() for part in operation.split("-"))]
        yield f"{start} {shlex.join(words)}"
