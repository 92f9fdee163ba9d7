"""An environment's commands get a clean environment, and their answers are read strictly."""

import json
import os
import sys
from pathlib import Path

import pytest

from shared.clients.environments import EnvironmentFailed, EnvironmentRunner
from shared.clients.secrets import Secrets
from shared.contracts.projects import Environment
from tests.support.isolation import UNISOLATED

COMMIT = "c" * 40
DATABASE = "UPGRADES_SECRET__ACME__STAGING__DB"
SECRETS = {
    DATABASE: "postgresql://app:s3cret@127.0.0.1/app",
    "UPGRADES_SECRET__ACME__STAGING__ROOT": "/srv/hosting",
}


def runner(
    *, activate: str = "true", observe: str = "true", logs: str = "true", deadline_s: float = 20
) -> EnvironmentRunner:
    environment = Environment(
        database="secret:db",
        activate=("sh", "-c", activate),
        observe=("sh", "-c", observe),
        health=("sh", "-c", "exit 7"),
        destroy=("true",),
        logs=("sh", "-c", logs),
        deadline_s=deadline_s,
        variables={"ROOT": "secret:root", "TITLE": "Acme"},
    )
    secrets = Secrets(None, SECRETS).of("acme", "staging")
    return EnvironmentRunner(environment, "staging", "run-0123456789ab", secrets, isolation=UNISOLATED)


def home_exists(home: str) -> bool:
    return os.path.exists(home)


async def test_a_command_sees_what_is_declared_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERS_OWN", "x")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    program = (
        "import json, os; assert os.path.isdir(os.environ['HOME']);"
        f" json.dump(dict(os.environ), open('{tmp_path}/seen', 'w'))"
    )
    assert await runner(activate=f'python -c "{program}"').activate(checkout, COMMIT) is None
    seen = json.loads((tmp_path / "seen").read_text())
    assert not home_exists(seen["HOME"])
    assert seen["PATH"].startswith(str(Path(sys.executable).parent))
    expected = {
        "ROOT": "/srv/hosting",
        "TITLE": "Acme",
        "LANG": "C.UTF-8",
        "DATABASE_URL": SECRETS[DATABASE],
        "UPGRADEPATH_ENVIRONMENT": "staging",
        "UPGRADEPATH_COMMIT": COMMIT,
        "UPGRADEPATH_RUN": "run-0123456789ab",
    }
    assert seen.items() >= expected.items()
    assert "WORKERS_OWN" not in seen


async def test_answers_are_read_from_standard_output(tmp_path: Path) -> None:
    environment = runner(
        activate="echo starting; echo address=http://127.0.0.1:1; echo address=http://127.0.0.1:2",
        observe=f"echo warning >&2; echo {COMMIT}",
        logs="echo s3cret is in $DATABASE_URL",
    )
    assert await environment.activate(tmp_path, COMMIT) == "http://127.0.0.1:2"
    assert await environment.observe(tmp_path) == COMMIT
    assert await runner(observe="echo nothing >&2").observe(tmp_path) is None
    assert SECRETS[DATABASE] not in await environment.logs(tmp_path)


async def test_a_command_that_fails_says_which_and_why(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailed) as failed:
        await runner().health(tmp_path)
    assert (failed.value.command, failed.value.exit_code) == ("health", 7)
    with pytest.raises(EnvironmentFailed, match="expected a commit"):
        await runner(observe="echo main").observe(tmp_path)
    with pytest.raises(EnvironmentFailed, match="did not end in time"):
        await runner(observe="sleep 60", deadline_s=0.2).observe(tmp_path)
    with pytest.raises(EnvironmentFailed) as failed:
        await runner(observe="echo $DATABASE_URL; exit 1").observe(tmp_path)
    assert "s3cret" not in str(failed.value)
