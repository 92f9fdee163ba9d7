"""`upgradepath topics lag` and `topics dead`: what has not been read yet, and what could not be read."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.asking import AsJson
from cli.broker import Broker, broker_settings, with_broker
from cli.output import line, say, show_json, table, text, took, when
from cli.pools import known_pools, known_principals, known_service
from shared.clock import utc_now
from shared.contracts.topics import Topic
from shared.errors import not_found

if TYPE_CHECKING:
    from shared.replay.dead_letters import DeadLetter

_SHOWN_CHARACTERS = 100
OneService = Annotated[
    str | None,
    typer.Option("--service", help="Only this one: a service, or executor.POOL.", show_default=False),
]


def lag(
    service: OneService = None,
    all_partitions: Annotated[
        bool, typer.Option("--all", help="Also those that are read to the end.")
    ] = False,
    bootstrap_servers: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Per group, topic and partition: how far it is behind, and how long the oldest record has waited."""
    from shared.replay.lag import lags

    settings = broker_settings(bootstrap_servers)
    found = with_broker(settings, lags(settings, reads(service), utc_now()))
    shown = [one for one in found if all_partitions or as_json or one.behind]
    if as_json:
        show_json([one.__dict__ for one in shown])
        return
    table(
        ("group", "topic", "partition", "committed", "end", "behind", "oldest waits"),
        [
            (
                text(one.group, "bold"),
                one.topic,
                str(one.partition),
                "never" if one.committed is None else str(one.committed),
                str(one.end),
                text(one.behind, "yellow" if one.behind else ""),
                "" if one.oldest_age_s is None else took(one.oldest_age_s),
            )
            for one in shown
        ],
        empty=f"every one of {len(found)} partitions is read to its end",
    )


def dead(
    service: OneService = None,
    show: Annotated[
        str | None, typer.Option("--show", metavar="LETTER", help="One letter with its bytes and headers.")
    ] = None,
    bootstrap_servers: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Dead letters by service, type and reason, with counts; `replay redrive` sends them again."""
    letters = read_letters(bootstrap_servers, service)
    if show is not None:
        chosen = [letter for letter in letters if letter.id == show]
        if not chosen:
            raise not_found(
                f"there is no dead letter {show}", field="--show", value=show, cure="upgradepath topics dead"
            )
        _print_letter(chosen[0], as_json)
        return
    if as_json:
        show_json([letter_document(letter) for letter in letters])
        return
    groups: dict[tuple[str, str, str], list[DeadLetter]] = defaultdict(list)
    for letter in letters:
        groups[letter.service, letter.type, _short(letter.reason)].append(letter)
    table(
        ("service", "type", "reason", "letters", "redriven", "first", "last", "for instance"),
        [
            (
                text(name, "bold"),
                kind,
                reason,
                str(len(group)),
                str(sum(letter.redriven_at is not None for letter in group)),
                when(group[0].buried_at),
                when(group[-1].buried_at),
                group[-1].id,
            )
            for (name, kind, reason), group in sorted(groups.items())
        ],
        empty="there are no dead letters",
    )


def read_letters(bootstrap_servers: str | None, service: str | None) -> list[DeadLetter]:
    """The dead letters of one service, or of all."""
    from shared.replay.dead_letters import read_dead_letters

    settings = broker_settings(bootstrap_servers)
    known_service(service)
    found = []
    for name in [service] if service else known_principals():
        found += with_broker(settings, read_dead_letters(settings, name), within_s=None)
    return found


def letter_document(letter: DeadLetter) -> dict[str, Any]:
    """The letter as JSON: what was there, where, and why it is here."""
    return {
        "letter": letter.id,
        "service": letter.service,
        "type": letter.type,
        "reason": letter.reason,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "buried_at": letter.buried_at.isoformat(),
        "redriven_at": letter.redriven_at.isoformat() if letter.redriven_at else None,
        "redriven_by": letter.redriven_by,
        "cut_from_bytes": letter.original_bytes,
        "cut_from_sha256": letter.original_sha256,
        "key": _plain(letter.key),
        "headers": {name: _plain(value) for name, value in letter.headers},
        "body": _plain(letter.body),
    }


def reads(service: str | None) -> list[tuple[str, Topic]]:
    """(service, topic) of what is read, of one service or of all."""
    from services.participants import participants
    from shared.contracts.documents import topics_read

    known_service(service)
    return [
        (one.name, topic)
        for one in participants(known_pools())
        if one.name in known_principals() and service in (None, one.name)
        for topic in topics_read(one)
    ]


def _print_letter(letter: DeadLetter, as_json: bool) -> None:
    if as_json:
        show_json(letter_document(letter))
        return
    say(line(text(letter.id, "bold"), f"  {letter.type} of {letter.topic}, buried {when(letter.buried_at)}"))
    say(line(text("reason   ", "dim"), letter.reason))
    if letter.original_bytes is not None:
        was = f"it had {letter.original_bytes} bytes, and its body the sha256 {letter.original_sha256}"
        say(line(text("cut      ", "dim"), was))
    if letter.redriven_at:
        say(line(text("redriven ", "dim"), f"{when(letter.redriven_at)} by {letter.redriven_by}"))
    say(line(text("key      ", "dim"), repr(letter.key)))
    for name, value in letter.headers:
        say(line(text(f"{name}: ", "dim"), repr(value)))
    say(repr(letter.body))


def _plain(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _short(reason: str) -> str:
    first = reason.splitlines()[0] if reason else ""
    return first if len(first) <= _SHOWN_CHARACTERS else f"{first[:_SHOWN_CHARACTERS]}…"
