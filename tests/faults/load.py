"""The people of the rig, over topics alone: they ask, opt in, sign, approve, and say again what broke.

Every command's id is derived from what it answers, so that a reader which begins anew repeats nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from local.commands import Commands
from shared import background
from shared.contracts.envelope import receive
from shared.contracts.projects import Project, RegisterProject
from shared.contracts.refusals import CommandRefused
from shared.contracts.releases import PublishRelease, ReleasePublished
from shared.contracts.runs import (
    ApproveCandidate,
    ContinueRun,
    RequestPlan,
    RetryStage,
    RollBackRun,
    RunChanged,
    RunView,
    SignOff,
    StartRun,
)
from shared.contracts.topics import PROJECT_EVENTS, RELEASE_EVENTS, RUN_EVENTS, VERSION_MAP_EVENTS
from shared.contracts.values import Actor, Command, Message
from shared.contracts.version_maps import VersionMapRecorded
from shared.ids import derived_id
from shared.settings import KafkaSettings

log = logging.getLogger(__name__)

LIBRARY = Actor(id="library@faults.example", role="library")
SRE = Actor(id="sre@faults.example", role="sre")
SOURCE = "/faults"
_AGAIN_S = 0.5
_TRIES_MAX = 12
_SAME_AGAIN_MAX = 2
MALFORMED = b"the rig sends what is no message"
"""Whoever reads this puts it away, once; the people overlook it."""


@dataclass
class Asked:
    """A Run that somebody asked for; `run` is its newest state, and `ended_s` when it came to its end."""

    project: str
    systems: Mapping[str, str]
    undo: bool
    began_s: float = field(default_factory=time.monotonic)
    id: str = ""
    number: int = 0
    revision: int = 0
    run: RunView | None = None
    ended_s: float | None = None

    @property
    def well(self) -> bool:
        """It came to the end that was wanted."""
        wanted = "rolled-back" if self.undo else "succeeded"
        return self.run is not None and self.run.status == wanted

    @property
    def took_s(self) -> float | None:
        return None if self.ended_s is None else self.ended_s - self.began_s


class Load:
    """Who publishes, registers, asks and decides, and what they have seen."""

    def __init__(self, kafka: KafkaSettings, token_of: Callable[[Actor], str]) -> None:
        self.kafka = kafka
        self._people = Commands(SOURCE, token_of)
        self.commands: dict[str, Command] = {}
        self.asked: dict[str, Asked] = {}
        self.published: set[tuple[str, str]] = set()
        self.recorded: dict[str, int] = {}
        self.helped: list[str] = []
        """What an SRE or a maintainer was asked to help with: `stage: reason`."""
        self._numbers = itertools.count(1)
        self._changed = asyncio.Condition()
        self._outgoing: asyncio.Queue[tuple[str, Command]] = asyncio.Queue()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._deliver())]
        try:
            yield self
        finally:
            for task in tasks:
                await background.end(task)

    # --- asking ----------------------------------------------------------------------------------

    async def publish(self, system: str, version: str, package: str, signature: str) -> None:
        """Returns once it is out; both digests are of the content store."""
        command = PublishRelease(
            actor=LIBRARY, system=system, version=version, package=package, signature=signature
        )
        self._say(command, version)
        await self.until(lambda: (system, version) in self.published, 120)

    async def register(self, *projects: Project, pins: Mapping[str, str], within_s: float = 300) -> None:
        """Returns once their version maps are recorded."""
        for project in projects:
            self._say(RegisterProject(actor=SRE, project=project, pins=dict(pins)))
        names = {project.id for project in projects}
        await self.until(lambda: names <= self.recorded.keys(), within_s)

    def ask(self, project: str, systems: Mapping[str, str], *, undo: bool = False) -> Asked:
        """Ask for an upgrade; with `undo` it is rolled back once it is in production."""
        asked = Asked(project, systems, undo)
        self._ask(asked)
        return asked

    async def until(self, condition: Callable[[], bool], within_s: float) -> None:
        """Wait until the events have made `condition` true. Raises TimeoutError."""
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(condition)

    def _ask(self, asked: Asked) -> None:
        asked.number = next(self._numbers)
        command = RequestPlan(actor=SRE, project=asked.project, systems=dict(asked.systems))
        asked.id = self._people.run_of(SRE, self._say(command, asked.number))
        self.asked[asked.id] = asked

    def _say(self, command: Command, *what: object) -> str:
        """Send a command once; its id, which follows from `what` it is about."""
        name = derived_id("faults", command.type_name(), command.key(), *what)
        if name not in self.commands:
            self.commands[name] = command
            self._outgoing.put_nowait((name, command))
        return name

    async def _deliver(self) -> None:
        """Send one command after another, again and again until the broker has taken it."""
        while True:
            try:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self.kafka.bootstrap_servers, acks="all", enable_idempotence=True
                )
                async with producer:
                    while True:
                        name, command = await self._outgoing.get()
                        try:
                            record = self._people.record(command, name)
                            await producer.send_and_wait(
                                record.topic, record.body, record.key, headers=list(record.headers)
                            )
                        except BaseException:
                            self._outgoing.put_nowait((name, command))
                            raise
            except (KafkaError, OSError) as error:
                log.info("a command waits for the broker: %r", error)
            await asyncio.sleep(_AGAIN_S)

    # --- answering -------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Read every event, and do what a person would do then."""
        topics = [topic.name for topic in (RELEASE_EVENTS, PROJECT_EVENTS, VERSION_MAP_EVENTS, RUN_EVENTS)]
        while True:
            consumer = AIOKafkaConsumer(
                *topics,
                bootstrap_servers=self.kafka.bootstrap_servers,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
            )
            try:
                async with consumer:
                    async for record in consumer:
                        if record.value == MALFORMED:
                            continue
                        self._read(receive(record.headers, record.value).message)
                        async with self._changed:
                            self._changed.notify_all()
            except (KafkaError, OSError) as error:
                log.info("reading begins anew: %r", error)
            await asyncio.sleep(_AGAIN_S)

    def _read(self, message: Message) -> None:
        match message:
            case ReleasePublished():
                self.published.add((message.release.system, message.release.version))
            case VersionMapRecorded():
                self.recorded[message.version_map.project] = message.version_map.revision
            case CommandRefused(command_id=name) if isinstance(self.commands.get(name), PublishRelease):
                log.error("a release was refused: %s", message.refusals)
            case CommandRefused(command_id=name) if isinstance(
                command := self.commands.get(name), RequestPlan
            ):
                self._ask_again(name, command)
            case RunChanged(run=run, revision=revision) if run.id in self.asked:
                asked = self.asked[run.id]
                # Our own injections bring old news again.
                if revision > asked.revision:
                    asked.revision = revision
                    self._see(asked, run)

    def _ask_again(self, name: str, command: RequestPlan) -> None:
        """The planner had not read of the Project yet."""
        run = self._people.run_of(SRE, name)
        asked = self.asked.get(run)
        if asked is not None and asked.id == run and asked.run is None:
            del self.asked[asked.id]
            asyncio.get_running_loop().call_later(_AGAIN_S, self._ask, asked)

    def _see(self, asked: Asked, run: RunView) -> None:
        asked.run = run
        if run.ended_at is not None and (asked.well or run.status != "succeeded"):
            asked.ended_s = asked.ended_s or time.monotonic()
        elif run.status == "succeeded":
            self._say(
                RollBackRun(actor=SRE, project=run.project, run_id=run.id, reason="the rig undoes it"), run.id
            )
        elif run.blocked_by is not None and run.status in ("planned", "waiting"):
            self._answer(run)

    def _answer(self, run: RunView) -> None:
        assert run.blocked_by is not None
        about = {"actor": SRE, "project": run.project, "run_id": run.id}
        if run.status == "planned":
            self._say(StartRun.model_validate({**about, "plan": run.plan}), run.id, run.plan)
        elif run.blocked_by.who == "approver" and run.candidate is not None:
            command = ApproveCandidate.model_validate({**about, "candidate": run.candidate})
            self._say(command, run.id, run.candidate, run.fence)
        elif run.blocked_by.who == "approver":
            for check in run.blocked_by.what.removeprefix("sign-off of ").split(", "):
                sign_off = SignOff.model_validate({**about, "check": check, "remark": "looked at it"})
                self._say(sign_off, run.id, check, run.fence)
        elif run.blocked_by.who in ("sre", "maintainer"):
            self._help(run, about)

    def _help(self, run: RunView, about: Mapping[str, object]) -> None:
        """Say again what the Run names as a cure; after many tries it may wait, with its reason."""
        assert run.blocked_by is not None
        if len(run.stages) > _TRIES_MAX * 8:
            return
        cures = " ".join(run.blocked_by.cures)
        about_this = f"{run.id} {run.stage}: {run.blocked_by.what}"
        enough = self.helped.count(about_this) >= _SAME_AGAIN_MAX and "run roll-back" in cures
        self.helped.append(about_this)
        if enough:
            self._say(RollBackRun.model_validate({**about, "reason": "it stays so"}), run.id, run.fence)
        elif "run retry" in cures:
            self._say(RetryStage.model_validate(about), run.id, run.fence)
        elif "run continue" in cures:
            self._say(ContinueRun.model_validate(about), run.id, run.fence)
        else:
            self._say(
                RollBackRun.model_validate({**about, "reason": "nothing else helps"}), run.id, run.fence
            )
