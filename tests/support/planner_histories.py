"""Recorded histories of Runs: what the planner heard, and what it made of it.

`python -m tests.support.planner_histories` records those that are missing, and never one that is there:
what was decided once is decided again.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from shared.contracts.catalogue import BY_TYPE
from shared.contracts.envelope import to_body
from shared.contracts.projects import Project
from shared.contracts.runs import ApproveCandidate, ContinueRun, RequestPlan, SignOff, StartRun
from shared.contracts.stages import Errored, Failed, Finding, Outcome, RunExecutorStage
from shared.contracts.values import Message
from tests.support.planner_examples import MIRA, PROJECT, digest
from tests.support.planner_world import World

HISTORIES = Path(__file__).resolve().parents[1] / "histories"
CONFLICT = Failed(
    reason="one file conflicts",
    findings=(
        Finding(
            kind="conflict",
            subject="systems/auth-system/signin.py",
            detail="both sides changed lines 12 to 19",
            cure="resolve it on the upgrade branch and push",
        ),
    ),
)
UNHEALTHY = Failed(
    reason="production is not healthy",
    findings=(Finding(kind="environment", subject="health", detail="exit 1", cure="read the log"),),
    touched_production=True,
    backup=digest("backup"),
)


class Recorder:
    """A world that writes down what it is told."""

    def __init__(self) -> None:
        self.world = World()
        self.steps: list[dict[str, Any]] = []
        self.run_id = ""

    def tell(self, message: Message) -> None:
        self.world.now += timedelta(seconds=1)
        message_id = f"message-{len(self.steps) + 1}"
        heard = {"type": message.type_name(), "body": json.loads(to_body(message))}
        self.steps.append(
            play(self.world, {"id": message_id, "at": self.world.now.isoformat(), "heard": heard})
        )
        self.run_id = self.run_id or next(iter(self.world.runs), "")

    def timer(self) -> None:
        """Let the Run's timer come."""
        wake_at = self.world.run(self.run_id).wake_at
        assert wake_at is not None
        self.steps.append(play(self.world, {"at": wake_at.isoformat(), "heard": None}))

    def plan(self) -> None:
        self.tell(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None}))

    def decide(self, command: type[Any], **given: Any) -> None:
        self.tell(command(actor=MIRA, project=PROJECT, run_id=self.run_id, **given))

    def start(self) -> None:
        self.plan()
        self.answer()
        self.decide(StartRun, plan=self.world.run(self.run_id).plan)

    def answer(self, outcome: Outcome | None = None) -> None:
        """Whoever is asked answers: a worker, or the registry."""
        command = self.world.stage_command(self.run_id)
        if command is not None:
            self.tell(self.world.result(command, outcome))
        else:
            self.world.registry_works()
            self.tell(self.world.from_registry.pop())

    def prove(self) -> None:
        """From `apply` on to an approved candidate, for which the map is held."""
        for _ in range(4):
            self.answer()
        self.decide(SignOff, check="partner-sign-off", remark="as agreed")
        self.decide(ApproveCandidate, candidate=self.world.run(self.run_id).candidate)
        self.answer()


def play(world: World, step: dict[str, Any]) -> dict[str, Any]:
    """One step through the handlers and the domain: what was sent, and how every Run looks then."""
    already = len(world.sent)
    at = datetime.fromisoformat(step["at"])
    if step["heard"] is None:
        world.wait_s((at - world.now).total_seconds())
    else:
        world.now = at
        message = BY_TYPE[step["heard"]["type"]].model_validate(step["heard"]["body"])
        world.tell(message, step["id"])
    sent = [
        {"type": message.type_name(), "body": hashlib.sha256(_as_recorded(message)).hexdigest()}
        for message in world.sent[already:]
    ]
    views = [world.run(run_id).view().model_dump(mode="json") for run_id in world.runs]
    return {**step, "sent": sent, "runs": views}


def _as_recorded(message: Message) -> bytes:
    """A message's body without what its contract has grown by since the histories were recorded."""
    signatures = {"__all__": {"from_signature", "to_signature"}}
    task = {"approval": True, "upgrades": True if _is_deploy(message) else signatures}
    grown: dict[str, Any] = {"work": True, "origin": True, "task": task}
    return message.model_dump_json(by_alias=True, exclude=grown).encode()


def _is_deploy(message: Message) -> bool:
    return isinstance(message, RunExecutorStage) and message.task.stage == "deploy"


def success(recorder: Recorder) -> None:
    """Everything goes well, but for a worker that had to be asked twice."""
    recorder.start()
    recorder.answer(Errored(reason="no route to host"))
    recorder.timer()
    recorder.answer()
    recorder.prove()
    for _ in range(3):
        recorder.answer()


def conflict_and_continue(recorder: Recorder) -> None:
    """A conflict waits for the maintainer; the fixed commit is proven from `apply` on."""
    recorder.start()
    recorder.answer()
    recorder.answer(CONFLICT)
    recorder.decide(ContinueRun)
    recorder.prove()
    for _ in range(3):
        recorder.answer()


def deploy_failure_and_roll_back(recorder: Recorder) -> None:
    """A deploy that wrote to production and failed is rolled back at once, and the map let go."""
    recorder.start()
    recorder.answer()
    recorder.prove()
    recorder.answer(UNHEALTHY)
    recorder.answer()
    recorder.answer()


SCENARIOS: dict[str, Callable[[Recorder], None]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (success, conflict_and_continue, deploy_failure_and_roll_back)
}


def record(name: str) -> dict[str, Any]:
    """A history as it is decided today."""
    recorder = Recorder()
    SCENARIOS[name](recorder)
    return {
        "about": SCENARIOS[name].__doc__,
        "registration": recorder.world.registration.model_dump(mode="json", by_alias=True),
        "steps": recorder.steps,
    }


def world_of(history: dict[str, Any]) -> World:
    return World(Project.model_validate(history["registration"]))


def write(folder: Path = HISTORIES) -> list[str]:
    """Record what is missing; the names of what was recorded."""
    missing = [name for name in SCENARIOS if not (folder / f"{name}.json").exists()]
    for name in missing:
        text = json.dumps(record(name), indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return missing


if __name__ == "__main__":
    print("\n".join(write()))
