"""`project`, `version-map`, `inbox`, `outdated`."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.contracts.projects import RegisterProject
from shared.project_file import read_project_file
from tests.cli import documents
from tests.cli.conftest import Type
from tests.cli.small_services import Services

EXAMPLE = Path(__file__).parents[2] / "examples/project"
REGISTRATION = (
    "--repository",
    "/srv/git/acme.git",
    "--approver",
    "mira@acme.example",
    "--approver",
    "b@acme.example",
)


def _project() -> dict[str, Any]:
    definition = read_project_file((EXAMPLE / "upgradepath.toml").read_text())
    return {
        "id": "acme-portal",
        "repository": "/srv/git/acme.git",
        "definition": definition.model_dump(mode="json"),
        "approvers": ["mira@acme.example"],
    }


def test_register_reads_the_folder(
    upgradepath: Type, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLE)
    for folder in ((str(EXAMPLE),), ()):
        result = upgradepath("project", "register", *folder, *REGISTRATION)
        assert result.exit_code == 0, result.output
        assert "registered acme-portal" in result.stdout
    command = services.commands[0][0]
    assert isinstance(command, RegisterProject)
    assert command.project.approvers == ("mira@acme.example", "b@acme.example")
    assert command.project.definition == read_project_file((EXAMPLE / "upgradepath.toml").read_text())
    assert command.pins["auth-system"] == "1.2.4"


def test_register_waits_until_a_plan_can_be_asked_for(upgradepath: Type, services: Services) -> None:
    services.late = 3
    result = upgradepath("project", "register", str(EXAMPLE), *REGISTRATION)
    assert (result.exit_code, services.late) == (0, 0)
    assert "not read of it yet" not in result.stderr


def test_register_says_every_mistake_of_the_folder(upgradepath: Type, tmp_path: Path) -> None:
    missing = upgradepath("project", "register", str(tmp_path), *REGISTRATION)
    assert missing.exit_code == 1
    assert "upgradepath.toml is not there" in missing.stderr
    (tmp_path / "upgradepath.toml").write_text('id = "Acme"\nfoo = 1\n')
    wrong = upgradepath("project", "register", str(tmp_path), *REGISTRATION)
    assert wrong.exit_code == 1
    assert "foo" in wrong.stderr
    assert "environments" in wrong.stderr


def test_register_needs_an_approver(upgradepath: Type) -> None:
    assert upgradepath("project", "register", str(EXAMPLE), "--repository", "x").exit_code == 2


def test_project_list_and_show(upgradepath: Type, services: Services) -> None:
    row = {"project": _project(), "version_map": documents.version_map().model_dump(mode="json")}
    services.documents["registry/projects"] = [row]
    services.documents["registry/projects/acme-portal"] = {**row, "revision": 1}
    assert "acme-portal\tAcme customer portal\tauth-system 1.2.4" in upgradepath("project", "list").stdout
    shown = upgradepath("project", "show", "acme-portal").stdout
    for word in ("mira@acme.example", "auth-system: 1.2.4", "sign-in-page"):
        assert word in shown
    assert json.loads(upgradepath("project", "list", "--json").stdout) == [row]


def test_version_map_and_its_history(upgradepath: Type, services: Services) -> None:
    maps = [documents.version_map(2, "1.3.0"), documents.version_map(1)]
    rows = [{"version_map": one.model_dump(mode="json")} for one in maps]
    services.documents["registry/version-maps/acme-portal"] = rows[0]["version_map"]
    services.documents["registry/version-maps/acme-portal/history"] = rows
    assert "auth-system: 1.3.0" in upgradepath("version-map", "show", "acme-portal").stdout
    history = upgradepath("version-map", "history", "acme-portal")
    assert history.exit_code == 0, history.output
    assert "auth-system 1.2.4 → 1.3.0" in history.stdout
    assert json.loads(upgradepath("version-map", "history", "acme-portal", "--json").stdout) == rows


def test_the_inbox_tells_the_five_facts_and_what_to_type(upgradepath: Type, services: Services) -> None:
    services.documents["notifier/inbox/acme-portal"] = [documents.notification().model_dump(mode="json")]
    shown = upgradepath("inbox", "acme-portal")
    for word in (
        "auth-system 1.3.0",
        "pinned 1.2.4",
        "minor",
        "1.3.0: Users have a status",
        "migration required",
        "upgradepath plan create acme-portal auth-system",
    ):
        assert word in shown.stdout
    services.documents["notifier/inbox/acme-portal"] = [
        documents.notification("adopted").model_dump(mode="json")
    ]
    closed = upgradepath("inbox", "acme-portal", "--all")
    assert "adopted: the map moved to 1.3.0" in closed.stdout
    assert services.queries == ["state=open", ""]


def test_outdated(upgradepath: Type, services: Services) -> None:
    row = {
        "project": "acme-portal",
        "system": "auth-system",
        "pinned": "1.2.4",
        "newest": "1.3.0",
        "change": "minor",
        "migration_required": True,
        "required": False,
        "behind": 1,
    }
    services.documents["notifier/outdated"] = [row]
    plain = upgradepath("outdated", "acme-portal").stdout.splitlines()
    assert plain[1].split("\t") == ["acme-portal", "auth-system", "1.2.4", "1.3.0", "minor", "1", "yes", "no"]
    assert services.queries == ["project=acme-portal"]
    coloured = upgradepath("outdated", FORCE_COLOR="1").stdout
    assert "\x1b[" in coloured
    services.documents["notifier/outdated"] = []
    assert "up to date" in upgradepath("outdated").stderr
