"""Two partners in one world: Bolt tries everything of Acme's, and Acme's upgrade goes through meanwhile.

Apache Kafka asks everybody who comes and keeps its access lists. Acme's stages are worked off by the common
workers. Bolt has a worker pool of its own, with principals, keys, databases and secrets of its own, and uses
all of them as an attacker who has read the source.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from local import example
from local.kafka import availability
from local.ports import free_port
from local.process import Child
from local.world import World
from services.access import default_principal, rules
from shared.clients.database_urls import with_database
from shared.clock import utc_now
from shared.contracts.envelope import Headers, seal, to_body, to_headers
from shared.contracts.facts import RecordFacts
from shared.contracts.runs import RunView
from shared.contracts.stages import StageFinished, Succeeded
from shared.contracts.topics import (
    AUDIT_EVENTS,
    EXECUTOR_COMMANDS,
    SERVICES,
    STAGE_RESULTS,
    VALIDATOR_COMMANDS,
    all_topics,
    dead_letters,
    in_pool,
)
from shared.contracts.values import Actor
from shared.identity.keys import SigningKey
from shared.messaging.access_lists import apply_rules
from shared.messaging.client_arguments import client_arguments
from shared.messaging.topic_admin import create_topics
from shared.messaging.topic_reader import read_topic
from shared.packages.archive import pack_folder
from shared.signing.releases import Named, sign_release
from tests.conftest import PostgresServer
from tests.support.broker_rights import rights
from tests.support.people import LIBRARY, SRE, Library, Person, Refused
from tests.support.portal import NEW_PINS, Portal, project_file, publish_examples
from tests.support.secured_kafka import ADMIN, SecuredKafka
from tests.support.system import ROOT, FiveProcesses, end_processes_in

POOL = "bolt"
_READY_S = 90.0
# Every place that a check of Bolt's could be curious about, on the common workers. What it finds it prints,
# and then it fails.
SPY = """
import glob, os, pathlib, socket, sys
found = []
def tried(what, attempt):
    try:
        if attempt():
            found.append(what)
    except OSError:
        pass
for place in PLACES:
    tried(f"reads {place}", lambda: os.listdir(place) if os.path.isdir(place) else open(place).read(1))
for each in glob.glob("/proc/[0-9]*/environ"):
    tried(f"reads {each}", lambda: b"UPGRADES_" in open(each, "rb").read())
for port in PORTS:
    tried(f"reaches port {port}", lambda: socket.create_connection(("127.0.0.1", port), timeout=2))
tried("reaches the network of links", lambda: socket.create_connection(("169.254.169.254", 80), timeout=2))
if any(name.startswith("UPGRADES_") for name in os.environ):
    found.append("has a variable of the worker")
print("found:", found)
sys.exit(bool(found))
"""


@pytest.fixture
async def world(postgres: PostgresServer) -> AsyncIterator[tuple[FiveProcesses, SecuredKafka]]:
    """Five services and Bolt's two workers on a broker that knows each of them apart."""
    if why := availability():
        if os.environ.get("CI") == "true":
            pytest.fail(f"Apache Kafka: {why}")
        pytest.skip(f"Apache Kafka: {why}")
    with TemporaryDirectory(prefix="upgradepath-partners-") as name:
        folder = Path(name)
        async with SecuredKafka(folder / "kafka", pools=(POOL,)) as kafka:
            admin = kafka.settings(ADMIN)
            await create_topics(admin, (POOL,))
            await apply_rules(admin, rules((POOL,)))
            World.open(folder / "world", (POOL,))
            system = FiveProcesses(
                folder / "world",
                kafka,
                postgres,
                prefix="partners",
                per_service={
                    name: _broker(kafka, name)
                    for name in ("registry", "notifier", "planner", "executor", "validator")
                },
                settings=admin,
                # A local world takes unsigned packages; this one is as a server is.
                variables={"UPGRADES_ALLOW_UNSIGNED": "false"},
            )
            async with system.running(), _pool(system, kafka, postgres, folder / "bolts-own"):
                await publish_examples(system)
                yield system, kafka
        # Bolt's workers were killed at whatever they did.
        end_processes_in(folder)


# A JVM and seven processes start, and two upgrades run beside the attacks.
async def test_a_partner_gets_nothing_of_another_while_that_one_is_upgraded(
    world: tuple[FiveProcesses, SecuredKafka],
) -> None:
    system, kafka = world
    acme, spy = await Portal.make(system, "acme"), await _spying(system)
    bolt = await Portal.make(
        system, "bolt", edits=project_file('id = "acme-portal"', f'id = "acme-portal"\npool = "{POOL}"')
    )
    bolts = system.world.folder.parent / "bolts-own" / "secrets" / bolt.project
    common = system.world.folder / "secrets" / bolt.project
    # What Bolt's workers need lies with them alone, until Bolt's hosting is taken down by hand.
    shutil.move(common, bolts)
    try:
        for portal in (acme, bolt, spy):
            await portal.introduce()
        planned = await acme.mira.plan("auth-system")
        upgrade = asyncio.create_task(_upgrade(acme, planned))
        await _by_http(system, acme, bolt, planned)
        await _by_decisions(acme, bolt, planned)
        await _unsigned(Library(system), system.world.folder / "unsigned")
        await _on_record(Person(system, SRE), acme, bolt.mira.actor, planned)
        await _at_the_broker(kafka)
        await _by_forged_results(system, kafka, planned)
        await _in_the_databases(acme, bolt)
        assert (await upgrade).status == "succeeded"
        assert await acme.mira.pins() == NEW_PINS

        # Bolt's own upgrade, by its own workers, is not disturbed by what Bolt has tried.
        assert (await _upgrade(bolt, await bolt.mira.plan("auth-system"))).status == "succeeded"
        spied = await spy.mira.start(await spy.mira.plan("auth-system"))
        (report,) = [
            result for record in spied.stages for result in record.results if result.name == "unit-tests"
        ]
        await spy.mira.roll_back(spied.id)
        assert report.verdict == "passed", report.detail
    finally:
        shutil.move(bolts, common)
        for portal in (acme, bolt, spy):
            await portal.close()


async def _upgrade(portal: Portal, planned: RunView) -> RunView:
    await portal.mira.start(planned)
    return await portal.mira.approve(await portal.mira.proven(planned.id))


# --- by HTTP -----------------------------------------------------------------------------------------


async def _by_http(system: FiveProcesses, acme: Portal, bolt: Portal, run: RunView) -> None:
    """Nothing of Acme's is there for Bolt: it looks like what does not exist."""
    mallory = bolt.mira
    for path in (
        f"/registry/projects/{acme.project}",
        f"/registry/version-maps/{acme.project}",
        f"/registry/version-maps/{acme.project}/history",
        f"/notifier/inbox/{acme.project}",
        f"/planner/runs/{run.id}",
        f"/planner/runs/{run.id}/plan",
        f"/planner/runs/{run.id}/diff",
        f"/planner/plans/{run.plan}",
        f"/executor/runs/{run.id}",
        f"/validator/runs/{run.id}",
    ):
        assert await _status(mallory, path) == 404, path
    for verb, body in (
        ("start", {"plan": run.plan}),
        ("approve", {"candidate": "0" * 64}),
        ("sign-off", {"check": "partner-sign-off"}),
        ("cancel", {"reason": "because"}),
        ("roll-back", {"reason": "because"}),
        ("retry", {}),
        ("continue", {}),
        ("accept-masks", {"plan": run.plan}),
    ):
        assert await _status(mallory, f"/planner/runs/{run.id}/{verb}", body) == 404, verb
    for path in ("/registry/projects", "/planner/runs", "/notifier/outdated"):
        assert acme.project not in str(await mallory.get(path)), path

    declared = bolt.registration()
    theirs: dict[str, Any] = acme.registration()["project"]
    for stolen in (
        {"repository": theirs["repository"]},
        {"repository": theirs["repository"].removesuffix(".git") + "/../acme-portal.git"},
        {"id": acme.project},
    ):
        body = {**declared, "project": {**declared["project"], **stolen}}
        assert await _status(mallory, "/registry/projects", body) in (403, 404, 409, 422), stolen
    for environment in ("staging", "production"):
        project = bolt.registration()["project"]
        declared_there = project["definition"]["environments"][environment]
        declared_there["database"] = theirs["definition"]["environments"]["production"]["database"]
        body = {**declared, "project": project}
        assert await _status(mallory, "/registry/projects", body) in (403, 422), environment


# --- by decisions --------------------------------------------------------------------------------------


async def _by_decisions(acme: Portal, bolt: Portal, run: RunView) -> None:
    """Bolt's people decide nothing for Acme; nor does one of Bolt's own who is no approver, for Bolt."""
    mallory = bolt.mira
    theirs = acme.registration()
    me = mallory.actor.id
    for changed in ({"approvers": [me]}, {"policy": {"single_person": True, "approve": [me]}}):
        body = {**theirs, "project": {**theirs["project"], **changed}}
        for propose in (False, True):
            assert await _status(mallory, "/registry/projects", {**body, "propose": propose}) == 403, changed
    path = f"/registry/projects/{acme.project}/confirm"
    assert await _status(mallory, path, {"change": "0" * 64}) == 404
    for verb in ("approve", "reject"):
        asked = {"candidate": run.plan} if verb == "approve" else {"reason": "because"}
        assert await _status(mallory, f"/planner/runs/{run.id}/{verb}", asked) == 404

    olaf = Person(bolt.system, Actor(id="olaf@bolt.example", role="maintainer", projects=(bolt.project,)))
    own = bolt.registration()
    for field, value in (
        ("approvers", ["olaf@bolt.example"]),
        ("policy", {"weaken_masks": ["olaf@bolt.example"]}),
        ("repository", own["project"]["repository"] + "/"),
    ):
        body = {**own, "project": {**own["project"], field: value}}
        assert await _status(olaf, "/registry/projects", body) in (403, 409), field
    command = {"system": "auth-system", "version": "9.9.9", "package": "0" * 64}
    for who in (mallory, olaf):
        assert await _status(who, "/registry/releases", command) == 403


async def _unsigned(library: Library, folder: Path) -> None:
    """A package that the Library's key did not sign is published by nobody, whatever role he has."""
    system, version = "notifications-system", "0.3.3"
    shutil.copytree(example.package_folder(system, "0.3.2"), folder)
    for name in ("system.toml", "CHANGELOG.md"):
        (folder / name).write_text((folder / name).read_text().replace("0.3.2", version, 1))
    package = await library.post("/registry/content", content=pack_folder(folder))
    body = {"system": system, "version": version, "package": package["digest"]}
    named = Named(system, version, package["digest"])
    envelope = sign_release(named, builder="b", at=utc_now(), keys=[SigningKey.new("mallory")])
    stored = await library.post("/registry/content", content=envelope)
    for signature in ({}, {"signature": stored["digest"]}):
        with pytest.raises(Refused) as refused:
            await library.post("/registry/releases", {**body, **signature})
        assert "sign" in str(refused.value), signature


async def _on_record(sre: Person, acme: Portal, mallory: Actor, run: RunView) -> None:
    """Each try stands in the log of the service that refused it; of Acme's Run none was accepted."""
    wanted = {"start", "approve", "sign-off", "cancel", "roll-back", "retry", "continue", "accept-masks"}
    tried = await sre.get(f"/planner/audit?actor={mallory.id}&limit=200")
    of_run = [each["entry"] for each in tried if run.id in each["entry"]["what"] + each["entry"]["subject"]]
    assert {each["verdict"] for each in of_run} == {"refused"}
    assert {verb for verb in wanted if any(verb in each["what"] for each in of_run)} == wanted
    registrations = await sre.get(f"/registry/audit?actor={mallory.id}&project={acme.project}&refused=true")
    assert len(registrations) >= 4
    newest = await sre.get(f"/registry/audit?actor={LIBRARY.id}&refused=true")
    assert [each["entry"]["what"] for each in newest[:2]] == ["PublishRelease"] * 2


async def _status(who: Person, path: str, body: object = None) -> int:
    try:
        await (who.get(path) if body is None else who.post(path, body))
    except Refused as refused:
        return refused.status
    return 200


# --- at the broker -----------------------------------------------------------------------------------


async def _at_the_broker(kafka: SecuredKafka) -> None:
    """Bolt's principals read their pool's commands, write results, letters and their audit log: no more."""
    for service, own in (("executor", EXECUTOR_COMMANDS), ("validator", VALIDATOR_COMMANDS)):
        role = f"{service}.{POOL}"
        user = default_principal(role).removeprefix("User:")
        names = [topic.name for topic in all_topics((POOL,))]
        assert await rights(kafka.settings(user), names) == (
            {in_pool(own, POOL).name},
            {STAGE_RESULTS.name, AUDIT_EVENTS.name, dead_letters(role).name},
        )


async def _by_forged_results(system: FiveProcesses, kafka: SecuredKafka, run: RunView) -> None:
    """Bolt may write results. Signed with its own key, they count for no Run of Acme's."""
    user = default_principal(f"executor.{POOL}").removeprefix("User:")
    signer = system.world.signer(f"executor.{POOL}")
    now = utc_now()
    producer = AIOKafkaProducer(**client_arguments(kafka.settings(user)))
    async with producer:
        for fence in range(1, 40):
            forged = StageFinished(
                run_id=run.id,
                project_id=run.project,
                stage="record",
                attempt=1,
                fence=fence,
                outcome=Succeeded(facts=RecordFacts(removed=())),
                worker="mallory",
                started_at=now,
                finished_at=now,
            )
            body, headers = _sealed(forged, f"/upgrades/executor.{POOL}", now)
            signed = signer.signed(STAGE_RESULTS.name, body, headers)
            await producer.send_and_wait(STAGE_RESULTS.name, body, run.project.encode(), headers=list(signed))
    async for record in read_topic(system.kafka, dead_letters("planner"), follow=True):
        if record.key == run.project.encode() and b"mallory" in (record.value or b""):
            return


def _sealed(message: StageFinished, source: str, now: datetime) -> tuple[bytes, Headers]:
    return to_body(message), to_headers(seal(message, source=source, now=now))


# --- in the databases --------------------------------------------------------------------------------


async def _in_the_databases(acme: Portal, bolt: Portal) -> None:
    """Bolt's roles open Bolt's databases alone."""
    for name in ("acme_production", "acme_staging", "partners_registry", "partners_planner"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(with_database(bolt.example.production_url, name))


# --- Bolt's own --------------------------------------------------------------------------------------


def _broker(kafka: SecuredKafka, role: str) -> dict[str, str]:
    return kafka.variables(default_principal(role).removeprefix("User:"))


@asynccontextmanager
async def _pool(
    system: FiveProcesses, kafka: SecuredKafka, postgres: PostgresServer, home: Path
) -> AsyncIterator[None]:
    """An executor and a validator in Bolt's own place: its keys, its secrets, its work, its databases."""
    keys = home / "keys"
    for folder in (keys, home / "secrets", home / "work"):
        folder.mkdir(parents=True)
    shutil.copy(system.world.folder / "keys" / "services.json", keys)
    async with AsyncExitStack() as stack:
        for service in ("executor", "validator"):
            shutil.copy(system.world.folder / "keys" / f"{service}.{POOL}.pem", keys)
            postgres.create_database(f"bolts_{service}")
            given = system.world.environment(kafka.bootstrap_servers, system.databases, embedded=False)
            own = {name: value for name, value in given.items() if not name.endswith("_DATABASE_URL")}
            child = Child(
                [sys.executable, "-m", "cli", "service", service, "--port", str(free_port())],
                log=home / f"{service}.log",
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    **own,
                    **_broker(kafka, f"{service}.{POOL}"),
                    "UPGRADES_POOL": POOL,
                    "UPGRADES_POOL_PROJECTS": "bolt-portal",
                    "UPGRADES_SERVICE_KEY": str(keys),
                    "UPGRADES_SERVICE_PUBLIC_KEYS": str(keys / "services.json"),
                    "UPGRADES_SECRETS_FOLDER": str(home / "secrets"),
                    "UPGRADES_WORK_FOLDER": str(home / "work"),
                    "UPGRADES_INSTANCE": "bolts-own",
                    "UPGRADES_POSTGRES_BIN": str(postgres.bin_folder),
                    f"UPGRADES_{service.upper()}_DATABASE_URL": postgres.url(f"bolts_{service}"),
                },
            )
            stack.callback(child.kill)
        yield


async def _spying(system: FiveProcesses) -> Portal:
    """Bolt's second Project, on the common workers: one of its checks looks around there."""
    world = system.world.folder
    places = [
        str(place)
        for place in (
            world,
            world / "secrets",
            world / "content",
            world / "work",
            world / "acme",
            "/etc/shadow",
        )
    ]
    # The port of the server with staging's database is open to a check by design.
    ports = [
        int(url.rpartition(":")[2])
        for url in (system.kafka.bootstrap_servers, system.url, *map(system.address, SERVICES))
    ]
    text = f"PLACES = {places!r}\nPORTS = {ports!r}\n{SPY}"
    old = 'run = ["python", "-m", "unittest", "discover", "-s", "tests", "-t", "."]'
    edits = {**project_file(old, 'run = ["python", "tests/spy.py"]'), "tests/spy.py": text}
    return await Portal.make(system, "boltspy", edits=edits)
