"""`upgradepath schema …` on folders of files; no service is asked."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Type

EXAMPLE = Path(__file__).parents[2] / "examples" / "project"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example Project's schema files."""
    shutil.copytree(EXAMPLE / "prisma" / "schema", tmp_path / "project" / "prisma" / "schema")
    return tmp_path / "project"


def test_fragments_in_order_are_counted_by_their_owners(upgradepath: Type, project: Path) -> None:
    result = upgradepath("schema", "check", str(project))
    assert result.exit_code == 0
    assert "auth-system 2" in result.stdout
    assert json.loads(upgradepath("schema", "check", str(project), "--json").stdout) == []


def test_what_is_wrong_is_told_by_file_and_line(upgradepath: Type, project: Path) -> None:
    mine = project / "prisma/schema/mine.prisma"
    mine.write_text("/// @extends auth-system\nmodel User {\n  email Int?\n}\n")
    result = upgradepath("schema", "check", str(project))
    assert result.exit_code == 1
    assert "prisma/schema/mine.prisma:3\tUser.email is said differently" in result.stdout
    mine.write_text("model Mine {\n  id Integer @id\n}\n")
    result = upgradepath("schema", "check", str(project), "--json")
    assert result.exit_code == 1
    (problem,) = json.loads(result.stdout)
    assert (problem["file"], problem["line"]) == ("prisma/schema/mine.prisma", 2)


def test_what_needs_a_system_is_told(upgradepath: Type, project: Path) -> None:
    result = upgradepath("schema", "without", "auth-system", str(project), "--json")
    assert result.exit_code == 1
    assert {"Quote.user", "Invitation.invitedBy"} <= {each["field"] for each in json.loads(result.stdout)}
    assert "Quote.user" in upgradepath("schema", "without", "auth-system", str(project)).stdout
    result = upgradepath("schema", "without", "quote-engine", str(project))
    assert (result.exit_code, "nothing of others needs quote-engine" in result.stdout) == (0, True)
    assert upgradepath("schema", "without", "nothing", str(project)).exit_code == 2


def test_the_sql_between_two_versions_is_printed(upgradepath: Type, project: Path, tmp_path: Path) -> None:
    systems = EXAMPLE.parent / "systems" / "notifications-system" / "0.3.2"
    assert upgradepath("schema", "diff", str(systems), str(systems)).stdout == ""
    wider = tmp_path / "wider"
    wider.mkdir()
    text = (systems / "prisma/schema.prisma").read_text()
    (wider / "schema.prisma").write_text(text.replace("model Notice {\n", "model Notice {\n  tone String?\n"))
    result = upgradepath("schema", "diff", str(systems), str(wider))
    assert result.stdout == '-- AlterTable\nALTER TABLE "notices" ADD COLUMN     "tone" TEXT;\n'


def test_sql_that_cannot_run_is_not_printed(upgradepath: Type, tmp_path: Path) -> None:
    """Prisma renames two indexes into each other's names, one after the other."""
    model = (
        'model A {\n  id Int @id\n  x Int\n  y Int\n  @@index([x], map: "%s")\n  @@index([y], map: "%s")\n}\n'
    )
    for name, text in (("before", model % ("i", "j")), ("after", model % ("j", "i"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "schema.prisma").write_text(text)
    result = upgradepath("schema", "diff", str(tmp_path / "before"), str(tmp_path / "after"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert 'relation "j" already exists' in result.stderr
    assert "write this migration by hand" in result.stderr


def test_a_folder_without_schema_files_is_named(upgradepath: Type, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = upgradepath("schema", "check", str(tmp_path / "empty"))
    assert (result.exit_code, "no .prisma file" in result.stderr) == (2, True)


def test_without_prismas_packages_there_is_no_answer(project: Path, tmp_path: Path) -> None:
    """In a process of its own: what this one has loaded needs no registry any more."""
    outside = {
        "UPGRADES_CACHE": str(tmp_path / "cache"),
        "NPM_CONFIG_REGISTRY": "http://127.0.0.1:1",
        "NPM_CONFIG_USERCONFIG": str(tmp_path / "npmrc"),
        "PATH": os.environ["PATH"],
    }
    command = [sys.executable, "-m", "cli", "schema", "check", str(project)]
    result = subprocess.run(
        command, check=False, env=outside, cwd=EXAMPLE.parents[1], capture_output=True, text=True
    )
    assert result.returncode == 3
    assert "http://127.0.0.1:1/@prisma/prisma-schema-wasm" in result.stderr
    assert f"cd {tmp_path / 'cache' / 'prisma'} && npm pack @prisma/prisma-schema-wasm@" in result.stderr
