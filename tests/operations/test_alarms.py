"""An alarm can ring: its expression parses, what it looks at is exported, and somebody wrote what to do."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from shared.telemetry.metrics import begin_at_zero, exposition
from tests.support.alarms import RULES

ROOT = Path(__file__).resolve().parents[2]
PANELS = json.loads((ROOT / "deploy" / "dashboard.json").read_text())["panels"]
_OURS = re.compile(r"upgradepath_[a-z_]+")
_ASKED = re.compile(r'gauge\(\s*"([a-z_]+)"')
_COUNTED = re.compile(r'(Counter|Histogram)\(\s*"(upgradepath_[a-z_]+)"')


def _exported() -> set[str]:
    """The names of all series, as the code that exports them writes them."""
    code = "\n".join(
        path.read_text() for room in ("shared", "services") for path in (ROOT / room).rglob("*.py")
    )
    counted = {
        f"{name}{'_total' if kind == 'Counter' else '_bucket'}" for kind, name in _COUNTED.findall(code)
    }
    return {f"upgradepath_{name}" for name in _ASKED.findall(code)} | counted


@pytest.mark.parametrize("alarm", RULES, ids=lambda alarm: alarm["alert"])
def test_an_alarm_reads_what_is_exported_and_has_a_runbook(alarm: dict[str, Any]) -> None:
    promql_parser.parse(alarm["expr"])
    names = set(_OURS.findall(alarm["expr"]))
    assert names, "it looks at nothing of ours"
    assert names <= _exported()
    runbook = alarm["annotations"]["runbook"]
    assert runbook == f"docs/runbooks/{alarm['alert']}.md"
    assert (ROOT / runbook).is_file()


def test_the_dashboard_shows_every_series() -> None:
    shown: set[str] = set()
    for panel in PANELS:
        for target in panel["targets"]:
            promql_parser.parse(target["expr"])
            shown |= set(_OURS.findall(target["expr"]))
    assert shown == _exported()


def test_alarms_on_absence_ring_in_prometheus_itself() -> None:
    """Else a killed service rings nothing, and the first burst of dead letters of a process neither."""
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is missing: apt-get install prometheus")
        pytest.skip("promtool is not here: apt-get install prometheus")
    tried = subprocess.run(
        [promtool, "test", "rules", ROOT / "tests" / "operations" / "alarms.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr


def test_the_counters_of_a_service_are_exported_from_its_start() -> None:
    """A series that appears with 5 has not increased: its first burst rings nothing."""
    begin_at_zero("new-service")
    exported = exposition([]).decode()
    assert 'upgradepath_dead_letters_total{service="new-service"} 0.0' in exported
    assert 'upgradepath_audit_lost_total{service="new-service"} 0.0' in exported
