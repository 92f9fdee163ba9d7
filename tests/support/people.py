"""The people of a journey, over HTTP as any client: each waits by the long poll, never by the clock."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.watch import is_settled
from local.world import ACTORS
from shared.contracts.notifications import Notification
from shared.contracts.refusals import Refusal
from shared.contracts.runs import Plan, RunView, StageRecord
from shared.contracts.values import Actor
from shared.packages.archive import pack_folder
from shared.packages.package import read_package
from tests.support.system import System

LIBRARY, SRE = ACTORS["library"], ACTORS["sre"]
_LONG_POLL_S = 20.0
_WITHIN_S = 120.0
_POLL_S = 0.05


class Refused(Exception):
    """The services said no: the status, and each refusal."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.status_code} {answer.text}")
        self.status = answer.status_code
        self.refusals = [Refusal.model_validate(each) for each in answer.json().get("refusals", ())]


async def refusal_of(asked: Awaitable[Any]) -> Refusal:
    """The one refusal with which this is answered."""
    with pytest.raises(Refused) as refused:
        await asked
    (refusal,) = refused.value.refusals
    return refusal


class Person:
    """Somebody with a token. What does not answer is asked again: a repeat with its key is harmless."""

    def __init__(self, system: System, actor: Actor, token: str | None = None) -> None:
        self.system = system
        self.actor = actor
        self._token = token

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON that is there. Raises Refused."""
        return (await self._ask("GET", path, params=query)).json()

    async def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """A command's verdict. Raises Refused."""
        key = {"Idempotency-Key": str(uuid.uuid4())}
        options = options or {"json": {} if body is None else body}
        return (await self._ask("POST", path, headers=key, **options)).json()

    async def text(self, path: str) -> str:
        return (await self._ask("GET", path)).text

    async def until(self, path: str, good: Callable[[Any], bool]) -> Any:
        """What a read that has no long poll answers, once it is good."""
        end = time.monotonic() + _WITHIN_S
        while True:
            try:
                seen = await self.get(path)
            except Refused as refused:
                # What one service has said, another may not have read yet.
                if refused.status != httpx.codes.NOT_FOUND:
                    raise
                seen = str(refused)
            else:
                if good(seen):
                    return seen
            assert time.monotonic() < end, f"{path} is still {seen!r:.2000}"
            await asyncio.sleep(_POLL_S)

    async def _ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        token = self._token or self.system.token(self.actor)
        headers = {"Authorization": f"Bearer {token}", **(headers or {})}
        end = time.monotonic() + _WITHIN_S
        while True:
            try:
                async with httpx.AsyncClient(timeout=_WITHIN_S, trust_env=False, verify=False) as client:
                    answer = await client.request(
                        method, f"{self.system.url}{path}", headers=headers, **options
                    )
            except httpx.TransportError as error:
                why = repr(error)
            else:
                if answer.is_success:
                    return answer
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    raise Refused(answer)
                why = answer.text
            assert time.monotonic() < end, f"{method} {path}: {why}"
            await asyncio.sleep(_POLL_S)


class Library(Person):
    """Who publishes Systems."""

    def __init__(self, system: System) -> None:
        super().__init__(system, LIBRARY)

    async def publish(self, folder: Path) -> dict[str, Any]:
        """Upload and publish an unpacked package; the event. Raises Refused."""
        assert not self.system.shared, "a journey that publishes takes a world of its own: `own_world`"
        package = pack_folder(folder)
        manifest = read_package(package).manifest
        stored = await self.post("/registry/content", content=package)
        release = {"system": manifest.name, "version": manifest.version, "package": stored["digest"]}
        release["signature"] = await self.signature(**release)
        published: dict[str, Any] = await self.post("/registry/releases", release)
        return published

    async def signature(self, system: str, version: str, package: str) -> str:
        """The digest of an uploaded envelope about the package with this digest."""
        envelope = self.system.world.sign_package(system, version, package)
        stored = await self.post("/registry/content", content=envelope)
        return str(stored["digest"])


class Maintainer(Person):
    """Who decides for one Project, and may approve there."""

    def __init__(self, system: System, project: str) -> None:
        name = project.partition("-")[0]
        super().__init__(system, Actor(id=f"mira@{name}.example", role="maintainer", projects=(project,)))
        self.project = project

    async def told(self, system: str, version: str, state: str = "open") -> Notification:
        """The notification of this release, once it is in that state."""
        wanted = {"system": system, "version": version, "state": state}

        def of(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [each for each in found if each.items() >= wanted.items()]

        path = f"/notifier/inbox/{self.project}"
        return Notification.model_validate(of(await self.until(path, lambda found: bool(of(found))))[0])

    async def can_plan(self, wanted: Mapping[str, str], pinned: tuple[str, str]) -> None:
        """Returns when the planner has read of these versions, and of this Project, what others know already.

        What is asked for is refused in any case, because one of it is `pinned`.
        """
        body = {"project": self.project, "systems": {**wanted, **dict([pinned])}}
        end = time.monotonic() + _WITHIN_S
        while True:
            with pytest.raises(Refused) as asked:
                await self.post("/planner/runs", body)
            refusals = asked.value.refusals
            if [each.field for each in refusals] == [f"systems.{pinned[0]}"] and asked.value.status == 409:
                return
            assert time.monotonic() < end, f"the planner still says {refusals}"
            await asyncio.sleep(_POLL_S)

    async def pins(self) -> dict[str, str]:
        pins: dict[str, str] = (await self.version_map())["pins"]
        return pins

    async def version_map(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.get(f"/registry/version-maps/{self.project}")
        return found

    async def plan(self, *systems: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> RunView:
        """Ask for a plan (`system` or `system@version`), and wait until it can be read."""
        wanted, new = (
            {name: version or None for name, _, version in (each.partition("@") for each in some)}
            for some in (systems, add)
        )
        asked = {"project": self.project, "systems": wanted, "add": new, "remove": list(remove)}
        run = await self.post("/planner/runs", asked)
        planned = await self.settled(run["id"])
        assert planned.status == "planned", planned
        return planned

    async def read_plan(self, run: str) -> Plan:
        return Plan.model_validate((await self.get(f"/planner/runs/{run}/plan"))["plan"])

    async def show(self, run: str) -> RunView:
        return RunView.model_validate((await self.get(f"/planner/runs/{run}"))["run"])

    async def tell(self, run: str, verb: str, **body: Any) -> RunView:
        """One command about a Run; the Run right after it. Raises Refused."""
        return RunView.model_validate(await self.post(f"/planner/runs/{run}/{verb}", body))

    async def start(self, run: RunView) -> RunView:
        """Opt in, and wait for what the Run waits for then."""
        await self.tell(run.id, "start", plan=run.plan)
        return await self.settled(run.id)

    async def proven(self, run: str) -> RunView:
        """Sign off whatever is asked, until the candidate awaits its approval."""
        view = await self.settled(run)
        while view.candidate is None:
            assert view.blocked_by is not None, view
            assert view.blocked_by.who == "approver", view.blocked_by
            for check in view.blocked_by.what.removeprefix("sign-off of ").split(", "):
                await self.tell(run, "sign-off", check=check, remark="looked at it")
            view = await self.settled(run)
        return view

    async def approve(self, run: RunView) -> RunView:
        """Approve the candidate, and wait for the end of it."""
        await self.tell(run.id, "approve", candidate=run.candidate)
        return await self.settled(run.id)

    async def roll_back(self, run: str, *, restore_backup: bool = False) -> RunView:
        await self.tell(run, "roll-back", reason="we want it as it was", restore_backup=restore_backup)
        return await self.settled(run)

    async def upgrade(self, *systems: str) -> RunView:
        """The whole road, without a look to the side."""
        planned = await self.plan(*systems)
        await self.start(planned)
        return await self.approve(await self.proven(planned.id))

    async def settled(self, run: str) -> RunView:
        """The Run once it waits for a person, or has ended."""
        return await self.seen(run, is_settled)

    async def seen(self, run: str, good: Callable[[RunView], bool]) -> RunView:
        """The first state of the Run from now on that is good."""
        end = time.monotonic() + _WITHIN_S
        revision = 0
        while True:
            state = await self.get(f"/planner/runs/{run}", after_revision=revision, wait_s=_LONG_POLL_S)
            view = RunView.model_validate(state["run"])
            if good(view):
                return view
            assert time.monotonic() < end, f"it is still {view!r}"
            revision = state["revision"]


def record_of(run: RunView, stage: str) -> StageRecord:
    """The newest attempt of that stage."""
    return next(record for record in reversed(run.stages) if record.stage == stage)
