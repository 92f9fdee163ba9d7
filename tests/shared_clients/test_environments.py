"""An environment's commands get a clean environment, and their answers are read strictly."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shared.clients.environments import EnvironmentFailed, EnvironmentRunner
from shared.clients.secrets import Secrets
from shared.contracts.projects import Environment
from shared.isolation.choosing import Isolation
from tests.support.isolation import UNISOLATED

COMMIT = "c" * 40
DATABASE = "UPGRADES_SECRET__ACME__STAGING__DB"
SECRETS = {
    DATABASE: "postgresql://app:s3cret@127.0.0.1/app",
    "UPGRADES_SECRET__ACME__STAGING__ROOT": "/srv/hosting",
    "UPGRADES_SECRET__ACME__STAGING__INNER": "http://acme:k3y@127.0.0.1:4000/",
}


def runner(
    *,
    activate: str = "true",
    observe: str = "true",
    logs: str = "true",
    deadline_s: float = 20,
    isolation: Isolation = UNISOLATED,
    **variables: str,
) -> EnvironmentRunner:
    environment = Environment(
        database="secret:db",
        activate=("sh", "-c", activate),
        observe=("sh", "-c", observe),
        health=("sh", "-c", "exit 7"),
        destroy=("true",),
        logs=("sh", "-c", logs),
        deadline_s=deadline_s,
        variables={"ROOT": "secret:root", "TITLE": "Acme", **variables},
    )
    secrets = Secrets(None, SECRETS).of("acme", "staging")
    return EnvironmentRunner(environment, "staging", "run-0123456789ab", secrets, isolation=isolation)


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


async def test_a_variable_that_is_shut_is_named_when_the_command_fails(tmp_path: Path) -> None:
    """Would catch a bare "connection refused" where the operator's settings shut a hosting."""
    shut = replace(UNISOLATED, networks=())
    with pytest.raises(EnvironmentFailed) as failed:
        await runner(isolation=shut, HOSTING_URL="secret:inner").health(tmp_path)
    said = str(failed.value)
    assert "HOSTING_URL is shut to the command: 127.0.0.1" in said
    assert "UPGRADES_STAGING_NETWORKS" in said
    assert "k3y" not in said
    with pytest.raises(EnvironmentFailed, match="it printed nothing"):
        await runner(HOSTING_URL="secret:inner").health(tmp_path)
