"""`upgradepath replay rebuild`: a service's database from its events, compared with the live one."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.asking import AsJson
from cli.broker import Broker, broker_settings, with_broker
from cli.durations import moment
from cli.output import line, note, say, show_json, table, text
from cli.proving import service_proofs
from cli.world import NoAnswer, announced_world, world_folder
from shared.clients.database_urls import database_of, place, with_database
from shared.clock import utc_now
from shared.contracts.topics import SERVICES
from shared.errors import conflict

if TYPE_CHECKING:
    from shared.identity.tokens import TokenVerifier
    from shared.replay.evidence import Evidence
    from shared.replay.rebuild import Digest, Rebuilt
    from shared.replay.restorer import Restorer
    from shared.settings import KafkaSettings

Digests = dict[str, "Digest"]
_SHOWN_MAX = 10
BrokenAudit = Annotated[
    bool,
    typer.Option(
        "--broken-audit",
        help="Restore the audit log up to its first missing or altered entry, and go on from there.",
    ),
]


def rebuild(
    service: Annotated[
        str,
        typer.Argument(metavar="SERVICE", help="registry, notifier, planner; of the others the log."),
    ],
    into: Annotated[
        str | None,
        typer.Option(
            "--into",
            metavar="URL",
            help="The empty database to fill, made if it is missing; else a new one beside the live one.",
        ),
    ] = None,
    live: Annotated[
        str | None,
        typer.Option(
            "--live", metavar="URL", help="What to compare with; else UPGRADES_<SERVICE>_DATABASE_URL."
        ),
    ] = None,
    unsigned_before: Annotated[
        datetime | None,
        typer.Option(
            "--unsigned-before",
            parser=moment,
            metavar="TIME",
            help="Believe a service's events without a proof that the broker took before this moment (UTC):"
            " those of a version that did not sign them.",
        ),
    ] = None,
    broken_audit: BrokenAudit = False,
    bootstrap_servers: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Restore a service's state from its events into an empty database, and compare it with the live one.

    Nothing is decided and nothing is sent. Exit 1 when the two differ. To use what was rebuilt, stop the
    service, rebuild, point UPGRADES_<SERVICE>_DATABASE_URL to it, and start the service: it goes on from
    where its consumer groups stand. Records that no service of ours proves are passed over and listed.
    """
    from services.restorers import restorer

    if service not in SERVICES:
        raise typer.BadParameter(f"{service!r} is none of: {', '.join(SERVICES)}")
    live_url = live or _live_url(service)
    if into is None and live_url is None:
        raise typer.BadParameter(f"give --into, or set UPGRADES_{service.upper()}_DATABASE_URL")
    target = into or _beside(live_url or "")
    settings, believed = broker_settings(bootstrap_servers), _believed(service, unsigned_before, broken_audit)
    work = _rebuild(settings, restorer(service, _content()), target, live_url, believed)
    done, rebuilt, standing = with_broker(settings, work, within_s=None)
    same = _show(service, target, done, rebuilt, standing, restorer(service, _content()), as_json)
    if not same:
        raise typer.Exit(1)


def _believed(
    service: str, unsigned_before: datetime | None, broken_audit: bool
) -> tuple[TokenVerifier, Evidence]:
    from shared.replay.evidence import Evidence

    return _tokens(service), Evidence(service_proofs(), unsigned_before, broken_audit=broken_audit)


async def _rebuild(
    settings: KafkaSettings,
    restorer: Restorer,
    target: str,
    live: str | None,
    believed: tuple[TokenVerifier, Evidence],
) -> tuple[Rebuilt, Digests, Digests | None]:
    from shared.replay.rebuild import digests, made, rebuild, unsent
    from shared.replay.restorer import CannotRebuild
    from shared.replay.told import NotOurs

    standing = None if live is None or live == target else await _if_there(live, restorer)
    if standing is not None and live is not None and (waiting := await unsent(live)):
        note(f"{waiting} messages wait in the live outbox: what they say is not on the topics yet")
    await made(target)
    tokens, evidence = believed
    try:
        done = await rebuild(settings, restorer, target, evidence, tokens)
    except (CannotRebuild, NotOurs) as error:
        raise conflict(
            str(error), field="--into", value=place(target), cure="read the runbook: rebuild"
        ) from error
    return done, await digests(target, restorer.parts), standing


async def _if_there(live: str, restorer: Restorer) -> Digests | None:
    """The live digests; none, with a word about it, when that database cannot be asked."""
    import asyncpg

    from shared.replay.rebuild import digests

    try:
        return await digests(live, restorer.parts)
    except (OSError, asyncpg.PostgresError) as error:
        note(f"the live database cannot be compared with: {type(error).__name__}: {error}")
        return None


def _show(
    service: str,
    target: str,
    done: Rebuilt,
    rebuilt: Digests,
    standing: Digests | None,
    restorer: Restorer,
    as_json: bool,
) -> bool:
    own = {part.name: part.own for part in restorer.parts}
    rows: list[dict[str, Any]] = [
        {
            "part": name,
            "own": own[name],
            "rows": digest.rows,
            "sha256": digest.sha256,
            "live_sha256": None if standing is None else standing[name].sha256,
            "same": None if standing is None else standing[name] == digest,
        }
        for name, digest in rebuilt.items()
    ]
    same = not any(row["own"] and row["same"] is False for row in rows)
    if as_json:
        show_json(
            {
                "service": service,
                "into": place(target),
                "same": None if standing is None else same,
                "events": done.events,
                "copied": done.copied,
                "inbox": done.inbox,
                "audited": done.audited,
                "passed_over": done.passed_over,
                "passed_over_first": [asdict(one) for one in done.listed],
                "seconds": round(done.seconds, 3),
                "goes_on_from": done.places,
                "parts": rows,
            }
        )
        return same
    _print_parts(rows)
    rate = f"{done.events + done.copied} events in {done.seconds:.1f} s, {done.events_per_s:,.0f} a second"
    say(line(text("rebuilt ", "bold green"), f"{service} into {place(target)}: {rate}"))
    _print_passed_over(done)
    if not same:
        say("if the live service worked meanwhile, stop it and rebuild again; else read the runbook: rebuild")
    say(f"to use it: stop {service}, point UPGRADES_{service.upper()}_DATABASE_URL to it, start {service}")
    return same


def _print_passed_over(done: Rebuilt) -> None:
    if not done.passed_over:
        return
    note(
        f"{done.passed_over} records were passed over, for nobody of us proves them"
        " (read the runbook database-lost: proofs):"
    )
    for one in done.listed[:_SHOWN_MAX]:
        note(f"  {one.topic}/{one.partition}/{one.offset}: {one.reason}")
    if done.passed_over > _SHOWN_MAX:
        note(f"  and {done.passed_over - _SHOWN_MAX} more; --json has the first {len(done.listed)}")


def _print_parts(rows: list[dict[str, Any]]) -> None:
    verdicts = {True: text("as the live one", "green"), None: text("not compared", "yellow")}
    differs = {True: text("DIFFERENT", "bold red"), False: text("differs; it will be read anew", "yellow")}
    table(
        ("part", "rows", "sha256", ""),
        [
            (
                row["part"],
                str(row["rows"]),
                row["sha256"][:16],
                verdicts.get(row["same"]) or differs[row["own"]],
            )
            for row in rows
        ],
        empty="nothing was restored",
    )


def _live_url(service: str) -> str | None:
    named = os.environ.get(f"UPGRADES_{service.upper()}_DATABASE_URL")
    world = announced_world()
    if named or world is None or world.postgres is None:
        return named
    return with_database(world.postgres, f"upgrades_{service}")


def _beside(live: str) -> str:
    stamp = utc_now().astimezone(UTC).strftime("%Y%m%d%H%M%S")
    return with_database(live, f"{database_of(live)}_rebuilt_{stamp}")


def _tokens(service: str) -> TokenVerifier:
    """With what people's commands are proven, which the registry reads again."""
    from cli.token_trust import tokens_of_the_past
    from shared.identity.tokens import NOBODY

    return tokens_of_the_past() if service == "registry" else NOBODY


def _content() -> str:
    """Where packages are: the registry needs them to be read."""
    named = os.environ.get("UPGRADES_CONTENT_URL")
    if named:
        return named
    folder = world_folder()
    if folder is None:
        raise NoAnswer("nobody said where the content store is", "set UPGRADES_CONTENT_URL")
    return (Path(folder) / "content").as_uri()
