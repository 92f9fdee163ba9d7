"""What the planner tells an operator is what its tables say at that moment."""

from datetime import timedelta
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from services.planner.app import build
from services.planner.gauges import open_runs
from services.planner.settings import PlannerSettings
from services.planner.store import PlannerTransaction
from services.planner.timers import Timers
from shared.application import web_application
from shared.contracts.freezes import FreezeDeploys
from shared.contracts.runs import RequestPlan, RunView
from shared.contracts.stages import Errored
from shared.messaging.gauges import outbox
from shared.settings import KafkaSettings
from shared.storage.database import Database
from shared.telemetry.metrics import exposition
from tests.planner.test_planner_timers import Moved
from tests.support.alarms import rings
from tests.support.keys import PUBLIC_KEYS
from tests.support.planner_examples import PROJECT, SRE
from tests.support.planner_service import PlannerService
from tests.support.proofs import key_settings

ALARM = "run-waits-for-sre"
Samples = dict[tuple[str, tuple[str, ...]], float]


async def test_open_runs_are_counted_where_they_stand(
    planner: PlannerService, database: Database[PlannerTransaction]
) -> None:
    await planner.planned()
    counts, ages_s = await open_runs(database)()
    (count,) = counts.samples
    assert count.labels == {"status": "planned", "stage": "review", "waits_for": "maintainer"}
    assert count.value == 1
    assert 0 <= ages_s.samples[0].value < 60


async def test_the_outbox_tells_its_length_and_its_age(
    planner: PlannerService, database: Database[PlannerTransaction]
) -> None:
    before, _ = await outbox(database)()
    assert before.samples[0].value == 0
    await planner.planned()
    messages, age_s = await outbox(database)()
    assert messages.samples[0].value == len(await planner.sent()) > 0
    assert age_s.samples[0].value > 0


async def _until_asked_to_deploy(planner: PlannerService) -> RunView:
    """The last thing that its people say is said."""
    run = await planner.planned()
    while run.stage != "deploy" and not (run.blocked_by is not None and run.blocked_by.who == "sre"):
        run = await planner.step(run.id)
    return run


async def test_a_run_that_waits_for_the_thaw_is_no_work_for_an_sre(
    planner: PlannerService, database: Database[PlannerTransaction]
) -> None:
    await planner.hear(FreezeDeploys(actor=SRE, reason="the database moves"))
    run = await _until_asked_to_deploy(planner)
    assert run.blocked_by is not None
    assert "deploys are frozen" in run.blocked_by.what
    count, _ = await open_runs(database)()
    assert [sample.labels["waits_for"] for sample in count.samples] == ["thaw"]
    assert not rings(ALARM, exposition([count]).decode())


async def test_a_run_that_could_not_be_found_out_is(
    planner: PlannerService, database: Database[PlannerTransaction]
) -> None:
    database.clock = clock = Moved(database.lane)
    run = await planner.ask(RequestPlan(actor=SRE, project=PROJECT, systems={"auth-system": None}))
    while run.blocked_by is None:
        run = await planner.answered(run.id, Errored(reason="the repository is away"))
        clock.by += timedelta(hours=1)
        await Timers(database).fire_due()
    count, _ = await open_runs(database)()
    assert rings(ALARM, exposition([count]).decode())


async def test_a_scrape_tells_of_everything_and_says_when_a_service_does_not_work(
    planner: PlannerService, database: Database[PlannerTransaction], tmp_path: Path
) -> None:
    await planner.planned()
    reachable = await _scrape(database.url, tmp_path)
    assert reachable["upgradepath_runs", ("maintainer", "planned", "review")] == 1
    assert reachable["upgradepath_outbox_messages", ("planner",)] > 0
    assert reachable["upgradepath_ready", ("planner",)] == 0, "it consumes nothing: it was not started"
    away = await _scrape("postgresql://nobody@127.0.0.1:1/planner", tmp_path)
    assert away["upgradepath_ready", ("planner",)] == 0
    assert not [name for name, _ in away if name in {"upgradepath_runs", "upgradepath_outbox_messages"}]


async def _scrape(url: str, folder: Path) -> Samples:
    kafka = KafkaSettings(bootstrap_servers="127.0.0.1:1", embedded=True)
    service = build(
        PlannerSettings(
            database_url=url,
            kafka=kafka,
            content_url=f"file://{folder}",
            token_public_keys=PUBLIC_KEYS,
            **key_settings("planner"),
        )
    )
    transport = httpx.ASGITransport(app=web_application([service]))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        text = (await client.get("/metrics")).raise_for_status().text
    await service.database.close()
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
