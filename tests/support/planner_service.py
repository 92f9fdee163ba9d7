"""The planner on a real database: messages in through its inbox, what it sends read from its outbox."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from services.planner.handlers import HANDLERS
from services.planner.store import PlannerTransaction
from services.planner.store.lists import run_for
from shared.clock import utc_now
from shared.contracts.catalogue import BY_TYPE
from shared.contracts.envelope import Envelope, Received, receive, seal, to_body
from shared.contracts.projects import Project, ProjectRegistered
from shared.contracts.releases import ReleasePublished
from shared.contracts.runs import ApproveCandidate, RequestPlan, RunChanged, RunView, SignOff, StartRun
from shared.contracts.stages import Outcome, RunExecutorStage, RunValidatorStage
from shared.contracts.values import Actor, Command, Message
from shared.contracts.version_maps import (
    HoldVersionMap,
    RecordVersionMap,
    VersionMap,
    VersionMapHeld,
    VersionMapRecorded,
    VersionMapReleased,
)
from shared.messaging.inbox import Inbox
from shared.storage.database import Database
from shared.storage.tables import OutboxRow
from tests.support.planner_examples import (
    MIRA,
    PROJECT,
    SRE,
    StageCommand,
    finished,
    project,
    releases,
    version_map,
)
from tests.support.proofs import sender_of


@dataclass(frozen=True)
class Sent:
    """One row of the outbox."""

    topic: str
    key: bytes
    body: bytes
    received: Received

    @property
    def message(self) -> Message:
        return self.received.message

    @property
    def envelope(self) -> Envelope:
        return self.received.envelope


class PlannerService:
    """The planner's inbox over `database`, which is migrated and empty."""

    def __init__(self, database: Database[PlannerTransaction]) -> None:
        self.database = database
        self.inbox = Inbox(database, HANDLERS)
        self._number = 0
        self.map = version_map()

    async def knows(self, registration: Project | None = None) -> None:
        """The Project, its pins and every release have been heard of."""
        await self.hear(ProjectRegistered(project=registration or project(), revision=1))
        await self.hear(VersionMapRecorded(version_map=self.map))
        for revision, known in enumerate(releases().values(), start=1):
            await self.hear(ReleasePublished(release=known, revision=revision, change="minor"))

    async def hear(self, message: Message, message_id: str | None = None) -> None:
        """One message from a topic."""
        await self.inbox.handle_together([self.received(message, message_id)])

    async def ask(self, command: Command, message_id: str | None = None) -> RunView:
        """One command over HTTP. Raises `Reject`."""
        received = self.received(command, message_id)
        answer = await self.inbox.perform(received.envelope, command, received.digest)
        return RunView.model_validate(answer)

    def received(self, message: Message, message_id: str | None = None) -> Received:
        self._number += 1
        sender = sender_of(message)
        envelope = Envelope(
            id=message_id or seal(message, source="/test", now=utc_now(), ordinal=self._number).id,
            source="/test" if sender is None else f"/upgrades/{sender}",
            type=message.type_name(),
            subject=message.key(),
            time=utc_now(),
            proven_by=sender,
        )
        return Received(envelope, message, hashlib.sha256(to_body(message)).hexdigest())

    async def sent(self, after: int = 0) -> list[Sent]:
        """What lies in the outbox, in order; nothing takes it away here."""
        async with self.database.transaction() as tx:
            rows: list[Any] = list(
                (await tx.session.execute(select(OutboxRow).order_by(OutboxRow.id))).scalars()  # type: ignore[arg-type]
            )
        return [_read(row) for row in rows[after:]]

    async def view(self, run_id: str) -> RunView:
        async with self.database.transaction() as tx:
            return (await run_for(tx, run_id, SRE))[0].view()

    async def open_command(self, run_id: str) -> Message | None:
        async with self.database.transaction() as tx:
            await run_for(tx, run_id, SRE)
            for message in await tx.open_messages():
                if not isinstance(message, RunChanged) and getattr(message, "run_id", None) == run_id:
                    return message
        return None

    # --- a road that a Run may go -----------------------------------------------------------------

    async def planned(self, by: Actor = MIRA) -> RunView:
        """A Run whose plan is ready."""
        run = await self.ask(RequestPlan(actor=by, project=PROJECT, systems={"auth-system": None}))
        return await self.answered(run.id)

    async def started(self) -> RunView:
        run = await self.planned()
        assert run.plan is not None
        return await self.ask(StartRun(actor=MIRA, project=PROJECT, run_id=run.id, plan=run.plan))

    async def answered(self, run_id: str, outcome: Outcome | None = None) -> RunView:
        """Whoever is asked answers: a worker its stage, the registry its map."""
        command = await self.open_command(run_id)
        assert command is not None
        if isinstance(command, RunExecutorStage | RunValidatorStage):
            stage: StageCommand = command
            await self.hear(finished(stage, utc_now(), outcome))
        else:
            await self.hear(self.registry_answers(command))
        return await self.view(run_id)

    def registry_answers(self, command: Message) -> Message:
        changes: dict[str, object] = {"revision": self.map.revision + 1, "held_by": None}
        event: type[VersionMapHeld | VersionMapRecorded | VersionMapReleased] = VersionMapReleased
        if isinstance(command, HoldVersionMap):
            event, changes["held_by"] = VersionMapHeld, command.run_id
        elif isinstance(command, RecordVersionMap):
            event = VersionMapRecorded
            changes |= {"pins": command.pins, "run_id": command.run_id}
        self.map = VersionMap.model_validate({**self.map.model_dump(), **changes})
        return event(version_map=self.map)

    async def step(self, run_id: str) -> RunView:
        """What a Run on its happy way waits for."""
        run = await self.view(run_id)
        on: dict[str, Any] = {"actor": MIRA, "project": PROJECT, "run_id": run_id}
        if await self.open_command(run_id) is not None:
            return await self.answered(run_id)
        if run.status == "planned":
            return await self.ask(StartRun(**on, plan=run.plan))
        if run.candidate is not None:
            return await self.ask(ApproveCandidate(**on, candidate=run.candidate))
        return await self.ask(SignOff(**on, check="partner-sign-off"))


def _read(row: Any) -> Sent:
    headers = [(name, base64.b64decode(value)) for name, value in row.headers]
    received = receive(headers, row.body)
    assert BY_TYPE[received.envelope.type] is type(received.message)
    return Sent(row.topic, row.key, row.body, received)
