"""The ledger: what was lost, doubled or stuck, read from outside alone: topics, Git and databases."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from local.example import git
from shared.contracts.envelope import Received, receive
from shared.contracts.refusals import CommandRefused
from shared.contracts.releases import PublishRelease
from shared.contracts.runs import RunChanged, RunView
from shared.contracts.stages import StageFinished
from shared.contracts.topics import DEAD_LETTERS, TOPICS, Topic, dead_letters
from shared.contracts.values import Command
from shared.contracts.version_maps import (
    HoldVersionMap,
    RecordVersionMap,
    ReleaseVersionMap,
    VersionMapHeld,
    VersionMapRecorded,
    VersionMapReleased,
)
from shared.messaging.record import Record
from shared.messaging.topic_reader import read_topic
from tests.faults.groups import groups
from tests.faults.load import MALFORMED, Asked, Load
from tests.faults.rig import Rig

_MapEvent = VersionMapHeld | VersionMapRecorded | VersionMapReleased


@dataclass
class Ledger:
    """Every finding is one line; none at all means that the books are right."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    messages: int = 0
    repeats: int = 0
    """Records with an id that was on their topic before: our own injections, and what a crash sent again."""

    @property
    def findings(self) -> list[str]:
        return [
            *(f"lost: {line}" for line in self.lost),
            *(f"doubled: {line}" for line in self.doubled),
            *(f"stuck: {line}" for line in self.stuck),
        ]


async def audit(rig: Rig) -> Ledger:
    """Read everything, once the system is at rest."""
    ledger = Ledger()
    first = await _first_of_each_id(rig, ledger)
    _runs(rig.load, first, ledger)
    _answers(rig.load, first, ledger)
    _version_maps(first, rig.load, ledger)
    _stages(first, ledger)
    await _outboxes(rig, ledger)
    await _lag(rig, ledger)
    for project in rig.real:
        await look_at_world(rig, project, ledger)
    return ledger


async def _first_of_each_id(rig: Rig, ledger: Ledger) -> list[Received]:
    """Every message once, in the order of its partition; another body under the same id is a finding."""
    found: dict[str, Received] = {}
    malformed = _Malformed()
    for topic in TOPICS:
        async for record in read_topic(rig.settings, topic):
            if record.value == MALFORMED:
                malformed.note(topic, record)
                continue
            if topic in DEAD_LETTERS:
                reason = dict(record.headers)["dead_reason"] or b""
                ledger.lost.append(f"a dead letter on {topic.name}: {reason.decode()}")
                continue
            received = receive(record.headers, record.value)
            known = found.setdefault(received.envelope.id, received)
            ledger.messages += 1
            if known is not received:
                ledger.repeats += 1
                if known.digest != received.digest:
                    ledger.doubled.append(f"{received.envelope.type} {received.envelope.id} has two bodies")
    malformed.judge(ledger)
    return list(found.values())


@dataclass
class _Malformed:
    """What was no message, by where it lay, and who has put it away how often."""

    sent: list[tuple[str, str]] = field(default_factory=list)
    buried: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def note(self, topic: Topic, record: Record) -> None:
        if topic not in DEAD_LETTERS:
            self.sent.append((topic.name, f"{record.partition}/{record.offset}"))
            return
        about = {name: (value or b"").decode() for name, value in record.headers}
        place = f"{about['dead_partition']}/{about['dead_offset']}"
        self.buried[topic.name, about["dead_topic"], place] += 1

    def judge(self, ledger: Ledger) -> None:
        readers: dict[str, list[str]] = defaultdict(list)
        for service, topic in groups():
            readers[topic.name].append(dead_letters(service).name)
        # The same dead letter may be sent twice by a crash, as every message may; never not at all.
        wanted = {(dead, *at) for at in self.sent for dead in readers[at[0]]}
        ledger.lost += [
            f"malformed, and not on {dead}: {where}" for dead, *where in wanted - self.buried.keys()
        ]
        ledger.doubled += [f"a dead letter of nothing: {where}" for where in self.buried.keys() - wanted]


def _runs(load: Load, first: Iterable[Received], ledger: Ledger) -> None:
    """Each Run that was asked for is there, changed step by step, and has ended or waits with a reason."""
    revisions: dict[str, list[int]] = defaultdict(list)
    newest: dict[str, RunView] = {}
    for received in first:
        if isinstance(received.message, RunChanged):
            run = received.message.run
            revisions[run.id].append(received.message.revision)
            newest[run.id] = run
    for run_id, asked in load.asked.items():
        seen = revisions[run_id]
        if not seen:
            ledger.lost.append(f"{run_id} of {asked.project} was asked for and is nowhere")
        elif seen != list(range(1, len(seen) + 1)):
            ledger.doubled.append(f"{run_id} went through the revisions {seen}")
        elif newest[run_id].ended_at is None:
            blocked = newest[run_id].blocked_by
            person = blocked is not None and blocked.who != "registry"
            where = f"{run_id} of {asked.project}: {newest[run_id].status} at {newest[run_id].stage}"
            if not person:
                ledger.stuck.append(f"{where}, {blocked.what if blocked else 'for nobody'}")
    ledger.doubled += [f"{run_id} was asked for by nobody" for run_id in revisions.keys() - load.asked.keys()]


def _answers(load: Load, first: Iterable[Received], ledger: Ledger) -> None:
    """Every command of ours is on its topic, and something came of it."""
    causes = set()
    there = set()
    for received in first:
        causes.add(received.envelope.causation_id)
        there.add(received.envelope.id)
        if isinstance(received.message, CommandRefused):
            causes.add(received.message.command_id)
    for name, command in load.commands.items():
        if name not in there:
            ledger.lost.append(f"{command.type_name()} {name} is not on its topic")
        elif name not in causes and not isinstance(command, PublishRelease):
            ledger.lost.append(f"{command.type_name()} {name} of {command.key()} has no answer")
    for received in first:
        ours = isinstance(received.message, HoldVersionMap | RecordVersionMap | ReleaseVersionMap)
        if ours and received.envelope.id not in causes and isinstance(received.message, Command):
            about = f"{received.envelope.type} of {received.message.key()}"
            ledger.lost.append(f"{about} {received.envelope.id} has no answer")


def _version_maps(first: Iterable[Received], load: Load, ledger: Ledger) -> None:
    """A map goes on by one revision at a time, and each Run that succeeded has recorded it once."""
    events: dict[str, list[_MapEvent]] = defaultdict(list)
    for received in first:
        if isinstance(received.message, _MapEvent):
            events[received.message.version_map.project].append(received.message)
    for project, of_project in events.items():
        seen = [event.version_map.revision for event in of_project]
        if seen != list(range(1, len(seen) + 1)):
            ledger.doubled.append(f"the version map of {project} went through the revisions {seen}")
    recorded = Counter(
        event.version_map.run_id
        for of_project in events.values()
        for event in of_project
        if isinstance(event, VersionMapRecorded) and event.version_map.run_id is not None
    )
    for asked in load.asked.values():
        _recorded_once(asked, recorded[asked.id], ledger)


def _recorded_once(asked: Asked, count: int, ledger: Ledger) -> None:
    status = asked.run.status if asked.run else "unknown"
    # A Run that is undone after its success records twice: there, and back.
    if status == "succeeded" and count == 0:
        ledger.lost.append(f"{asked.id} succeeded, and recorded nothing")
    if count > (2 if status == "rolled-back" else 1):
        ledger.doubled.append(f"{asked.id} recorded its pins {count} times")


def _stages(first: Iterable[Received], ledger: Ledger) -> None:
    """A try of a stage has one result."""
    results = Counter(
        (received.message.run_id, received.message.fence)
        for received in first
        if isinstance(received.message, StageFinished)
    )
    for (run_id, fence), count in results.items():
        if count > 1:
            ledger.doubled.append(f"fence {fence} of {run_id} has {count} results")


async def _outboxes(rig: Rig, ledger: Ledger) -> None:
    for service, url in rig.databases.items():
        unsent = await _ask(url, "select count(*) from outbox")
        if unsent:
            ledger.stuck.append(f"{unsent} messages in the outbox of {service}")


async def _lag(rig: Rig, ledger: Ledger) -> None:
    """Every group has committed what there is."""
    for service, topic in groups():
        partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        consumer = AIOKafkaConsumer(
            bootstrap_servers=rig.settings.bootstrap_servers,
            group_id=topic.group(service),
            enable_auto_commit=False,
        )
        async with consumer:
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            lag = sum(
                [ends[partition] - (await consumer.committed(partition) or 0) for partition in partitions]
            )
        if lag:
            ledger.stuck.append(f"{topic.group(service)} is {lag} records behind")


async def look_at_world(rig: Rig, project: str, ledger: Ledger) -> None:
    """Git, production's database and its app say the same as the Runs, and nothing of staging is left."""
    made = rig.real[project]
    runs = [asked.run for asked in rig.load.asked.values() if asked.project == project and asked.run]
    if any(run.ended_at is None for run in runs):
        return  # it waits with its reason, and has a right to what it keeps
    log = git(made.repository, "log", "--first-parent", "--format=%(trailers:key=Upgradepath-Run,valueonly)")
    commits = Counter(line for line in log.splitlines() if line.startswith("run-"))
    reverted = Counter(
        git(
            made.repository, "log", "--first-parent", "--format=%(trailers:key=Upgradepath-Reverts,valueonly)"
        ).split()
    )
    for run in runs:
        wanted = {"succeeded": 1, "rolled-back": 2 if run.deployed_commit else 0, "cancelled": 0}[run.status]
        if commits[run.id] not in {wanted, *([0, 2] if run.status == "rolled-back" else [])}:
            ledger.doubled.append(f"{run.id} is {run.status} with {commits[run.id]} commits of its own")
    ledger.doubled += [
        f"{commit} of {project} is reverted {n} times" for commit, n in reverted.items() if n > 1
    ]
    if git(made.repository, "for-each-ref", "--format=%(refname)", "refs/heads") != "refs/heads/main":
        ledger.stuck.append(f"{project} has branches that nobody took away")
    url = made.production_url
    migrations = "select count(*) from _prisma_migrations where rolled_back_at is null"
    if await _ask(url, f"{migrations} and finished_at is null"):
        ledger.stuck.append(f"{project} has an unfinished migration")
    if await _ask(url, f"{migrations.replace('count(*)', 'count(*) - count(distinct migration_name)')}"):
        ledger.doubled.append(f"{project} has a migration twice")
    partner = project.removesuffix("-portal")
    staging = "select count(*) from pg_database where datname like $1"
    if left := await _ask(rig.postgres.url(), staging, f"{partner}\\_staging\\_%"):
        ledger.stuck.append(f"{left} staging databases of {project} are left")


async def _ask(url: str, query: str, *arguments: object) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()
