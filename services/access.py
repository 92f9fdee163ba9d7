"""Who may do what at the broker: derived from `services/participants.py`, as the AsyncAPI document is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from services.participants import OUTSIDE, participants
from shared.contracts.documents import Participant, topics_read
from shared.contracts.topics import Topic
from shared.messaging.access_lists import OURS, Rule

SRE = "sre"
"""Who makes the topics, looks at them and sends dead letters again; nobody that handles a message."""


def roles(pools: Sequence[str] = ()) -> tuple[str, ...]:
    """Everybody who has a principal: the services, a worker of each pool, `outside` and `sre`."""
    return (*(one.name for one in _everybody(pools)), SRE)


def default_principal(role: str) -> str:
    """`User:upgrades-<role>`: with SCRAM or PLAIN its user name is `upgrades-<role>`."""
    return f"User:upgrades-{role.replace('.', '-')}"


def rules(pools: Sequence[str] = (), principals: Mapping[str, Sequence[str]] | None = None) -> list[Rule]:
    """Every rule that is needed and no other; `principals` are those of a role, where not the default one.

    Raises ValueError for a role that nobody has.
    """
    named = dict(principals or {})
    everybody = _everybody(pools)
    if unknown := set(named) - set(roles(pools)):
        raise ValueError(f"{', '.join(sorted(unknown))} is none of: {', '.join(roles(pools))}")
    found: list[Rule] = []
    for one in everybody:
        for principal in named.get(one.name) or [default_principal(one.name)]:
            found.extend(_of_participant(principal, one))
    for principal in named.get(SRE) or [default_principal(SRE)]:
        found.extend(_of_sre(principal, everybody))
    return sorted(set(found))


def _everybody(pools: Sequence[str]) -> tuple[Participant, ...]:
    return participants(pools)


def _of_participant(principal: str, one: Participant) -> Iterator[Rule]:
    """To read or to write a topic is to see it, so nothing is said of that."""
    for topic in topics_read(one):
        yield Rule(principal, "topic", topic.name, "literal", "read")
        if one is not OUTSIDE:
            yield Rule(principal, "group", topic.group(one.name), "literal", "read")
    if one is OUTSIDE:
        # How many there are outside, and how they call their groups, is theirs.
        yield Rule(principal, "group", f"{OURS}{one.name}.", "prefixed", "read")
    for topic in one.writes:
        yield Rule(principal, "topic", topic.name, "literal", "write")


def _of_sre(principal: str, everybody: Iterable[Participant]) -> Iterator[Rule]:
    """`topics create|list|tail|dump|lag|dead`, `replay redrive|rebuild`. The access lists are not theirs."""
    for operation in ("create", "describe-configs", "alter-configs", "read"):
        yield Rule(principal, "topic", OURS, "prefixed", operation)
    yield Rule(principal, "group", OURS, "prefixed", "describe")
    for topic in _redriven_to(everybody):
        yield Rule(principal, "topic", topic.name, "literal", "write")


def _redriven_to(everybody: Iterable[Participant]) -> set[Topic]:
    """A dead letter goes back to where its service reads, and its mark to where the letter lies."""
    everybody = tuple(everybody)
    read = {topic for one in everybody if one is not OUTSIDE for topic in topics_read(one)}
    return read | {topic for one in everybody for topic in one.writes if topic.holds_dead_letters}
