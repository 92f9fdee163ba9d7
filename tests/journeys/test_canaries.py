"""What stands in production's rows stands nowhere else, whatever goes wrong: seen by running it all.

Left out by name: production's own databases, where the whole errors are kept (docs/adr/0019), the backups of
them in the content store, the partner's hosting of production, and PostgreSQL's own log.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from local.kafka import ApacheKafka, availability
from local.postgres import EmbeddedPostgres
from shared.clients.content import ContentStore
from shared.clients.git_command import git
from shared.contracts.runs import RunView
from shared.contracts.topics import STAGE_RESULTS, dead_letters
from tests.brokers.place import eventually
from tests.journeys.canary_world import (
    DOWN,
    ROWS,
    SAID,
    UP,
    WAYS,
    WORDS,
    edits,
    plainly_failing,
    stumbling,
    without_way_back,
)
from tests.support.canaries import Collector, Programs, Search, Words
from tests.support.people import Library, record_of
from tests.support.portal import Portal, connected, publish_examples
from tests.support.system import FiveProcesses
from tests.support.topics import records, send_raw

STUMBLING = "auth-system@1.4.0"
_ROW = " ".join(WORDS.values())
_HOOK = f"""#!/bin/sh
[ -e angry ] || exit 0
while read old new ref; do
    [ "$ref" = refs/heads/main ] && {{ echo '{_ROW}'; echo '{_ROW}' >&2; exit 1; }}
done
exit 0
"""


@dataclass
class Place:
    """A system of its own, and everything that can be told to fail in it."""

    system: FiveProcesses
    programs: Programs
    traces: Collector
    bin_folder: Path
    portals: list[Portal]

    async def portal(self, partner: str, **changes: bool) -> Portal:
        portal = await Portal.make(self.system, partner, edits=edits(**changes))
        self.portals.append(portal)
        async with connected(portal.example.production_url) as connection:
            await connection.execute(ROWS)
        # The validator gets no production secret.
        folder = self.system.world.folder
        scope = Path(f"{partner}-portal") / "staging"
        shutil.copytree(folder / "secrets" / scope, folder / "checks-secrets" / scope)
        await portal.register()
        await portal.until_known(
            {"auth-system": "1.4.0", "quote-engine": "0.10.0", "onboarding-system": "0.6.0"}
        )
        return portal

    def search(self) -> Search:
        return Search(
            self.system,
            Words(WORDS.values()),
            traces=self.traces,
            repositories=[portal.example.repository for portal in self.portals],
            bin_folder=self.bin_folder,
        )


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    with TemporaryDirectory(prefix="upgradepath-canaries-") as name, Collector().listening() as traces:
        folder = Path(name)
        os.chmod(folder, 0o755)
        with EmbeddedPostgres(folder / "postgres", fsync=False) as postgres:
            programs = Programs(folder / "bin", postgres.bin_folder, _quoting_programs())
            world = folder / "world"
            for each in ("tmp", "checks-secrets"):
                (world / each).mkdir(parents=True)
            variables = {
                "UPGRADES_LOG_LEVEL": "debug",
                "UPGRADES_OTLP_ENDPOINT": traces.endpoint,
                "UPGRADES_POSTGRES_BIN": str(programs.folder),
                "TMPDIR": str(world / "tmp"),
                "OTEL_BSP_SCHEDULE_DELAY": "200",
            }
            secrets = {"validator": {"UPGRADES_SECRETS_FOLDER": str(world / "checks-secrets")}}
            async with ApacheKafka(folder / "kafka") as kafka:
                system = FiveProcesses(world, kafka, postgres, variables=variables, per_service=secrets)
                async with system.running():
                    made = Place(system, programs, traces, postgres.bin_folder, [])
                    await publish_examples(system)
                    library = Library(system)
                    await library.publish(stumbling(folder))
                    await library.publish(plainly_failing(folder))
                    await library.publish(without_way_back(folder))
                    try:
                        yield made
                    finally:
                        for portal in made.portals:
                            await portal.close()


def _quoting_programs() -> dict[str, str]:
    """What each program prints when it fails: a row wherever the server's words may have one."""
    wrong = "query failed: ERROR:  invalid input syntax for type integer"
    return {
        program: f'{program}: error: {wrong}: "{_ROW}\n{_ROW}"\n'
        f"{program}: detail: Command was: COPY canaries {_ROW}\nDETAIL:  Key (kind)=({_ROW}) exists.\n"
        f'CONTEXT:  COPY canaries, line 1, column name: "{_ROW}"\n{program}: hint: {_ROW}\n{_ROW}\n'
        for program in ("pg_dump", "pg_restore", "psql")
    }


async def test_no_row_of_production_is_told_whatever_fails() -> None:
    if reason := availability():
        if os.environ.get("CI") == "true":
            pytest.fail(f"Apache Kafka: {reason}")
        pytest.skip(f"Apache Kafka: {reason}")
    async with place() as made:
        alder, birch, cedar = [await made.portal(partner) for partner in ("alder", "birch", "cedar")]
        damson = await made.portal("damson", only_ours=True)
        elm = await made.portal("elm", failing_checks=True)
        await _rows_are_asked(alder)
        await _masked_copy_fails(damson)
        staged = await _checks_fail(elm)
        await asyncio.gather(_migrations_and_ways_down_fail(alder), _dump_and_push_fail(made, birch))
        await _health_fails_and_a_restore_needs_consent(made, cedar)
        await _a_broken_result_is_put_away(made, alder)

        search = made.search()
        assert await search.findings() == {}
        await _search_sees(made, search, elm.staging_url(staged))
        # Its staging is still up.
        await elm.mira.roll_back(staged.id)


async def _rows_are_asked(portal: Portal) -> None:
    """A plan says how many rows stand in the way, and none of what they say."""
    planned = await portal.mira.plan("onboarding-system")
    plan = await portal.mira.text(f"/planner/runs/{planned.id}/plan")
    assert "would fail" in plan
    await portal.mira.tell(planned.id, "cancel", reason="it would fail")


async def _masked_copy_fails(portal: Portal) -> None:
    stuck = await portal.mira.start(await portal.mira.plan(STUMBLING))
    assert (stuck.status, stuck.stage) == ("waiting", "prepare")
    assert record_of(stuck, "prepare").status == "failed"


async def _checks_fail(portal: Portal) -> RunView:
    """Every kind but the sign-off says no, and shows what it saw; staging stays up."""
    stuck = await portal.mira.start(await portal.mira.plan(STUMBLING))
    results = record_of(stuck, "validate").results
    failed = {result.name for result in results if result.verdict == "failed"}
    assert {"prints-rows", "several-rows", "one-row", "stumbles", "a-page", "rows-in-the-log"} <= failed
    return stuck


async def _migrations_and_ways_down_fail(portal: Portal) -> None:
    """The deploy's migration stumbles; then the way down does, in every way, until it may pass."""
    await _set(portal, UP, "trigger")
    await _set(portal, DOWN, next(iter(WAYS)))
    run = await portal.mira.upgrade(STUMBLING)
    assert record_of(run, "deploy").status == "failed"
    assert "own words" in record_of(run, "deploy").detail, record_of(run, "deploy")
    kept = "select string_agg(logs, ' ') from upgradepath.failure"
    assert WORDS["name"] in await portal.ask(kept)
    for way in WAYS:
        assert (run.status, record_of(run, "roll-back").status) == ("rolling-back", "failed"), way
        await _set(portal, DOWN, way)
        await portal.mira.tell(run.id, "retry")
        run = await portal.mira.settled(run.id)
    await _set(portal, DOWN, "")
    await portal.mira.tell(run.id, "retry")
    run = await portal.mira.settled(run.id)
    assert run.status == "rolled-back"


async def _dump_and_push_fail(made: Place, portal: Portal) -> None:
    """The dump, its reading, and at last the push: each fails once, and the third time it is rolled back."""
    hook = portal.example.repository / "hooks" / "pre-receive"
    hook.write_text(_HOOK)
    hook.chmod(0o755)
    proven = await _proven(portal, STUMBLING)
    made.programs.anger("pg_dump")
    await portal.mira.tell(proven.id, "approve", candidate=proven.candidate)
    await portal.mira.seen(proven.id, _errored(1))
    made.programs.anger("pg_restore")
    (made.programs.folder / "pg_dump.angry").unlink()
    await portal.mira.seen(proven.id, _errored(2))
    (portal.example.repository / "angry").touch()
    made.programs.calm()
    done = await portal.mira.settled(proven.id)
    assert done.status == "rolled-back"
    assert "pre-receive hook declined" in record_of(done, "deploy").detail
    (portal.example.repository / "angry").unlink()


async def _health_fails_and_a_restore_needs_consent(made: Place, portal: Portal) -> None:
    run = await portal.mira.upgrade("quote-engine@0.10.0")
    assert run.status == "succeeded"
    run = await portal.mira.roll_back(run.id)
    assert record_of(run, "roll-back").findings[0].kind == "data-loss"
    made.programs.anger("psql")
    log = portal.hosting / "production" / "app.log"
    before = log.read_text()
    log.write_text(f"{before}\n{SAID}{_ROW}\n")
    run = await portal.mira.roll_back(run.id, restore_backup=True)
    assert record_of(run, "roll-back").findings[0].subject == "environments.production.health"
    log.write_text(before)
    await portal.mira.tell(run.id, "retry")
    await portal.mira.seen(run.id, lambda view: any("psql on" in record.detail for record in view.stages))
    made.programs.calm()
    run = await portal.mira.settled(run.id)
    assert run.status == "rolled-back"


async def _a_broken_result_is_put_away(made: Place, portal: Portal) -> None:
    """What the executor has said itself, half of it: the planner puts it away with every byte."""
    said = (await records(made.system, STAGE_RESULTS, portal.project))[-1]
    assert said.value is not None
    headers = tuple((name, value or b"") for name, value in said.headers)
    await send_raw(made.system, STAGE_RESULTS, portal.project, said.value[:-10], headers)
    dead = dead_letters("planner")
    await eventually(lambda: records(made.system, dead), lambda found: len(found) == 1, within_s=60)


async def _proven(portal: Portal, system: str) -> RunView:
    planned = await portal.mira.plan(system)
    await portal.mira.start(planned)
    return await portal.mira.proven(planned.id)


def _errored(times: int) -> Callable[[RunView], bool]:
    def seen(run: RunView) -> bool:
        errored = ("waiting-for-retry", "errored")
        tried = [record for record in run.stages if record.stage == "deploy" and record.status in errored]
        return len(tried) >= times

    return seen


async def _set(portal: Portal, setting: str, value: str) -> None:
    """For every session with production's database that begins from now on."""
    async with connected(portal.system.postgres_url) as connection:
        await connection.execute(f"ALTER DATABASE {portal.partner}_production SET {setting} = '{value}'")


async def _search_sees(made: Place, search: Search, staging: str) -> None:
    """A word that is planted in each place is found there, in whatever form."""
    world, word = made.system.world.folder, WORDS["text"].encode()
    wanted = set()
    for url in (*made.system.databases.values(), staging):
        async with connected(url) as connection:
            await connection.execute("CREATE TABLE planted (b bytea)")
            await connection.execute("INSERT INTO planted VALUES ($1)", b"x" + word)
        wanted.add(f"database {url.rpartition('/')[2].partition('?')[0]}")
    await send_raw(made.system, dead_letters("planner"), "x", b"", (("header", word),))
    wanted.add(f"topic {dead_letters('planner').name}")
    digest = await ContentStore((world / "content").as_uri()).put(b"a report of " + word)
    for path in ("planner.log", "work/executor/left", "tmp/left"):
        with (world / path).open("ab") as file:
            file.write(word.upper())
        wanted.add(f"file {path}")
    repository = made.portals[0].example.repository
    await git(repository, "hash-object", "-w", "--stdin", stdin=word)
    wanted.add(f"objects of {repository.relative_to(world)}")
    made.traces.bodies.append(b"\x0a" + word)
    wanted.add("traces")
    found = await search.findings()
    assert [place for place in found if place.endswith(digest)]
    assert wanted <= found.keys(), wanted - found.keys()
