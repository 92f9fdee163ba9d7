"""The demo: one release travels through all five services, fails once, is undone, and then succeeds.

Every command is the one that a person would type, printed as it is typed; the services run as
`upgradepath dev` beside it.
"""

import asyncio
import io
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from rich.console import Console
from rich.rule import Rule

from local import example
from local.isolation import isolation_here
from local.process import CannotStart, Child
from local.world import ACTORS, World
from services.executor.clients.postgres import schema_digest
from shared.messaging.topic_reader import dump_topics
from shared.settings import KafkaSettings

Command = Callable[[Sequence[str]], int]
_READY_WITHIN_S = 60.0


class DemoFailed(Exception):
    """Something did not come out as the demo says it does."""


class Demo:
    """A world in `folder`, wiped first, in which the story is told. `command` runs one `upgradepath …`.

    `verbose` shows everything that each command prints, also of those that only prepare the story.
    """

    def __init__(self, folder: Path, command: Command, *, verbose: bool = False) -> None:
        self.folder = folder.resolve()
        self.console = Console(highlight=False)
        self._command = command
        self._verbose = verbose
        self._begins = True
        self._announced: dict[str, Any] = {}

    def run(self) -> None:
        """Raises `DemoFailed` when the story goes another way; stops every process that it started."""
        began = time.monotonic()
        if self.folder.exists():
            self._refuse_if_running()
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        os.environ["UPGRADEPATH_WORLD"] = str(self.folder)
        dev = Child(
            [sys.executable, "-m", "cli", "dev", "--world", str(self.folder), "--verbose", "--no-fsync"],
            log=self.folder / "dev.log",
            cwd=Path.cwd(),
            env=dict(os.environ),
        )
        try:
            self._until_ready(dev)
            self._tell()
            counts = asyncio.run(self._dump())
            asyncio.run(example.destroy(World.open(self.folder), self.folder / "acme" / "checkout"))
        finally:
            dev.stop(signal.SIGTERM, patience_s=20)
        self._look_around(counts, time.monotonic() - began)

    # --- the story -------------------------------------------------------------------------------

    def _tell(self) -> None:
        world = World.open(self.folder)
        self._chapter("A Project is live: it pins four Systems, and has edited two files of one")
        acme = asyncio.run(example.set_up(world, self._announced["postgres"], "strict-workflow"))
        for system, version in example.FIRST_RELEASES:
            self._prepare("release", "publish", str(example.package_folder(system, version)))
        approver = ACTORS["approver"].id
        self._prepare(
            *("project", "register", str(acme.checkout)),
            *("--repository", str(acme.repository), "--approver", approver),
        )

        self._chapter("The Systems Library publishes auth-system 1.3.0; the Project is told")
        new = str(example.package_folder(*example.NEW_RELEASE))
        self._do("release", "publish", new)
        self._until("the notification", lambda: bool(self._ask(f"/notifier/inbox/{example.PROJECT}")))
        self._do("inbox", example.PROJECT)

        self._chapter("First try: a rule of the partner says no; everything is undone, with proof")
        before = self._production(acme)
        run = self._plan()
        self._prepare("run", "accept-masks", run, "--yes", "--as", "approver")
        self._do("run", "start", run, "--watch", expect=1)
        self._sign_off(run, "staging-looks-right")
        self._do("run", "roll-back", run, "--reason", "our rule must change first", "--watch")
        if self._verbose:
            self._do("run", "show", run, "--all")
        if self._production(acme) != before:
            raise DemoFailed("production is not as it was before the failed Run")
        self.console.print("production is untouched: same commit, same rows, same schema", style="bold green")

        self._chapter("Second try: the rule is relaxed, but the partner has edited the same lines")
        acme.push_original("strict-workflow", "Agree on what the page after sign-in shows")
        acme.push_variant("conflict", "Keep a session for an hour at least")
        run = self._plan(shown=False)
        self._do("run", "start", run, "--watch", expect=1)

        self._chapter("The conflict is fixed on the upgrade's branch, and the same Run goes on")
        branch = self._ask(f"/planner/runs/{run}")["run"]["branch"]
        fix = acme.push_variant("conflict-fix", "Open the recorded session for an hour", branch)
        self.console.print(f"pushed {fix[:12]} to {branch}", style="dim")
        self._do("run", "continue", run, "--watch", expect=1)

        self._chapter("Another person signs off what he sees and approves it; production is upgraded")
        self._sign_off(run, "staging-looks-right", shown=False)
        self._sign_off(run, "partner-sign-off", shown=False)
        self._do("run", "approve", run, "--yes", "--watch", "--as", "approver")

        self._chapter("The version map")
        self._do("version-map", "show", example.PROJECT)
        self._expect_map()

    def _plan(self, *, shown: bool = True) -> str:
        words = ("plan", "create", example.PROJECT, "auth-system", "--wait")
        self._do(*words) if shown else self._prepare(*words)
        run: str = self._ask(f"/planner/runs?project={example.PROJECT}")[0]["id"]
        return run

    def _sign_off(self, run: str, check: str, *, shown: bool = True) -> None:
        said = ("--remark", "looked at it", "--watch", "--as", "approver")
        # It waits for the next person then, which is no success of `--watch`.
        (self._do if shown else self._prepare)("run", "sign-off", run, check, *said, expect=1)

    # --- how it is told --------------------------------------------------------------------------

    def _chapter(self, title: str) -> None:
        self.console.print()
        self.console.print(Rule(title, align="left", style="cyan"))
        self._begins = True

    def _do(self, *arguments: str, expect: int = 0) -> None:
        if not self._begins:
            self.console.print()
        typed = self._typed(arguments)
        code = self._command(arguments)
        if code != expect:
            raise DemoFailed(f"`{typed}` ended with {code}, expected {expect}")

    def _prepare(self, *arguments: str, expect: int = 0) -> None:
        """A command beside the story: its output is shown on request, and when it fails."""
        if self._verbose:
            self._do(*arguments, expect=expect)
            return
        typed = self._typed(arguments)
        self._begins = True
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            code = self._command(arguments)
        if code != expect:
            self.console.print(printed.getvalue(), markup=False)
            raise DemoFailed(f"`{typed}` ended with {code}, expected {expect}")

    def _typed(self, arguments: Sequence[str]) -> str:
        """Show the command as a person types it here."""
        words = (argument.removeprefix(f"{Path.cwd()}/") for argument in arguments)
        typed = " ".join(["upgradepath", *(f'"{word}"' if " " in word else word for word in words)])
        self.console.print(f"$ {typed}", style="bold", soft_wrap=True)
        self._begins = False
        return typed

    def _ask(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self._announced['tokens']['maintainer']}"}
        response = httpx.get(self._announced["url"] + path, headers=headers, trust_env=False)
        response.raise_for_status()
        return response.json()

    def _until(self, what: str, condition: Callable[[], bool], within_s: float = 30.0) -> None:
        end = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > end:
                raise DemoFailed(f"{what} did not come within {within_s:g} s; see {self.folder / 'dev.log'}")
            time.sleep(0.05)

    async def _dump(self) -> dict[str, int]:
        settings = KafkaSettings(bootstrap_servers=self._announced["bootstrap_servers"], embedded=True)
        return await dump_topics(settings, self.folder / "topics")

    def _refuse_if_running(self) -> None:
        try:
            running = json.loads((self.folder / "world.json").read_text())
            httpx.get(running["url"] + "/health", trust_env=False)
        except (OSError, ValueError, httpx.TransportError):
            return
        raise CannotStart(f"a world runs in {self.folder}: stop it first, or give another --world")

    # --- what it checks --------------------------------------------------------------------------

    def _until_ready(self, dev: Child) -> None:
        def ready() -> bool:
            if not dev.running:
                raise CannotStart(f"the services ended: {dev.log_tail()}")
            return (self.folder / "world.json").is_file()

        self._until("the services", ready, _READY_WITHIN_S)
        self._announced = json.loads((self.folder / "world.json").read_text())
        self.console.print(
            f"five services, a broker and a PostgreSQL run at {self._announced['url']};"
            f" the Project's commands run {isolation_here()}",
            style="dim",
            soft_wrap=True,
        )

    def _production(self, acme: example.Example) -> tuple[str, str, str]:
        """What of production an upgrade could touch: commit, schema and rows."""
        head = example.git(acme.repository, "rev-parse", "main")
        schema, rows = asyncio.run(_database_state(acme.production_url))
        return head, schema, rows

    def _expect_map(self) -> None:
        pins = self._ask(f"/registry/version-maps/{example.PROJECT}")["pins"]
        wanted = {**dict(example.FIRST_RELEASES), **dict([example.NEW_RELEASE])}
        if pins != wanted:
            raise DemoFailed(f"the version map says {pins}, not {wanted}")

    def _look_around(self, counts: dict[str, int], took_s: float) -> None:
        self._chapter(f"Done in {took_s:.0f} s; {sum(counts.values())} messages travelled")
        here = self.folder.relative_to(Path.cwd()) if self.folder.is_relative_to(Path.cwd()) else self.folder
        self.console.print(
            f"""\
This world lies in {here}: the Project in acme/, the messages of {len(counts)} topics
in topics/, the databases in postgres/, what the services said in dev.log. Look around:
  git -C {here / "acme/acme-portal.git"} log --graph --oneline main
  uv run upgradepath dev --world {here}      # starts it again; then, in another terminal:
  UPGRADEPATH_WORLD={here} uv run upgradepath run list
  uv run upgradepath demo --verbose      # the same, with all that each command prints""",
            soft_wrap=True,
            markup=False,
        )


async def _database_state(url: str) -> tuple[str, str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetchval(
            "select md5(string_agg(u::text, '|' order by u.id::text)) from users u"
        )
    finally:
        await connection.close()
    return await schema_digest(url), str(rows)
