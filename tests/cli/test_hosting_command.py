"""`upgradepath hosting` gives an adopted Project's app a place in the local world, and overwrites nothing."""

import re
from pathlib import Path

import pytest

from cli.adoption.proposal import project_file
from cli.hosting import with_variable
from local.world import World
from shared.errors import Reject
from shared.project_file import read_project_file
from tests.cli.conftest import Type

SECRET = "secret:harbour-hosting"
PROPOSED = project_file("harbour", "main")


def proposed(folder: Path) -> Path:
    folder.mkdir()
    (folder / "upgradepath.toml").write_text(PROPOSED)
    return folder


def test_the_checkout_of_a_proposal_is_complete_afterwards(
    upgradepath: Type, world: Path, tmp_path: Path
) -> None:
    World.open(world)
    folder = proposed(tmp_path / "checkout")
    done = upgradepath("hosting", str(folder))
    assert done.exit_code == 0, done.output
    assert "to do     Procfile is not there" in done.stdout
    environments = read_project_file((folder / "upgradepath.toml").read_text()).environments
    for one in (environments.production, environments.staging):
        assert one.variables == {"HOSTING_URL": SECRET}
        assert (folder / one.activate[0]).stat().st_mode & 0o100
    kept = world / "secrets" / "harbour"
    urls = {(kept / scope / "harbour-hosting").read_text() for scope in ("production", "staging")}
    assert re.fullmatch(r"http://harbour:[0-9a-f]{32}@127\.0\.0\.1:\d+", urls.pop())
    assert not urls

    (folder / "hosting" / "activate").write_text("ours")
    (folder / "Procfile").write_text("web: python app.py")
    again = upgradepath("hosting", str(folder))
    assert "writes" not in again.stdout + again.stderr
    assert (folder / "hosting" / "activate").read_text() == "ours"


def test_where_it_cannot_be_done_the_cure_is_said(upgradepath: Type, world: Path, tmp_path: Path) -> None:
    folder = proposed(tmp_path / "checkout")
    assert "start it: upgradepath dev" in upgradepath("hosting", str(folder)).stderr
    World.open(world)
    assert "git checkout adopt-upgradepath" in upgradepath("hosting", str(tmp_path)).stderr
    # The world's own folders are no partner's.
    (folder / "upgradepath.toml").write_text(PROPOSED.replace('id = "harbour"', 'id = "secrets"'))
    refused = upgradepath("hosting", str(folder))
    assert (refused.exit_code, "give it another id" in refused.stderr) == (1, True)
    assert not (folder / "hosting").exists()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_variable_stands_in_both_environments_once(end: str) -> None:
    given = PROPOSED.replace("\n", end)
    once = with_variable(given, "HOSTING_URL", SECRET)
    assert with_variable(once, "HOSTING_URL", SECRET) == once
    assert once.replace(f'variables = {{ HOSTING_URL = "{SECRET}" }}{end}', "") == given


@pytest.mark.parametrize(
    "variables", ['variables = { MODE = "a" }\n', '[environments.production.variables]\nMODE = "a"\n']
)
def test_other_variables_are_a_persons_to_change(variables: str) -> None:
    given = PROPOSED.replace("\n[environments.staging]", f"{variables}\n[environments.staging]")
    with pytest.raises(Reject) as refused:
        with_variable(given, "HOSTING_URL", SECRET)
    assert f'add HOSTING_URL = "{SECRET}"' in refused.value.refusals[0].cure
