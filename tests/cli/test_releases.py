"""`upgradepath release …`: the package is judged here first, and then by the registry's gate."""

import base64
import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from shared.packages.archive import pack_folder
from tests.cli import documents
from tests.cli.conftest import Type
from tests.cli.small_services import Services

EXAMPLE = Path(__file__).parents[2] / "examples/systems/auth-system/1.3.0"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A package with two mistakes."""
    folder = tmp_path / "broken"
    shutil.copytree(EXAMPLE, folder)
    manifest = folder / "system.toml"
    manifest.write_text(manifest.read_text().replace('version = "1.3.0"', 'version = "1.3"'))
    (folder / "CHANGELOG.md").unlink()
    return folder


def test_check_says_every_mistake_before_it_asks_anybody(
    upgradepath: Type, services: Services, broken: Path
) -> None:
    result = upgradepath("release", "check", str(broken))
    assert result.exit_code == 1
    assert "version" in result.stderr
    assert "CHANGELOG.md" in result.stderr
    assert services.uploads == []


def test_check_asks_the_gate_too(upgradepath: Type, services: Services) -> None:
    refusal = {
        "kind": "invalid",
        "reason": "a patch brings no migration",
        "field": "version",
        "cure": "a minor",
    }
    services.documents["check"] = {
        "system": "auth-system",
        "version": "1.3.0",
        "change": "minor",
        "refusals": [],
    }
    passed = upgradepath("release", "check", str(EXAMPLE))
    assert passed.exit_code == 0
    assert "auth-system 1.3.0 (minor)" in passed.stdout
    assert services.uploads == [pack_folder(EXAMPLE)]
    services.documents["check"]["refusals"] = [refusal]
    refused = upgradepath("release", "check", str(EXAMPLE))
    assert refused.exit_code == 1
    assert "a patch brings no migration" in refused.stderr


@pytest.mark.parametrize(
    ("found", "accepted", "sent"),
    [("signed", True, b"{}"), ("unsigned", True, None), ("unsigned", False, None)],
)
def test_check_says_how_the_signature_stands(
    upgradepath: Type, services: Services, tmp_path: Path, found: str, accepted: bool, sent: bytes | None
) -> None:
    """Else a Library learns only at the publish that a setting wants a signature."""
    package = tmp_path / "auth-system-1.3.0.tar.gz"
    package.write_bytes(pack_folder(EXAMPLE))
    if sent is not None:
        package.with_name(f"{package.name}.dsse.json").write_bytes(sent)
    services.documents["check"] = {
        "refusals": [],
        "signing": {"found": found, "accepted": accepted, "said": "in these words"},
    }
    said = upgradepath("release", "check", str(package))
    assert (said.exit_code, f"{found}: in these words" in said.stdout) == (0, True)
    assert services.envelopes == ["" if sent is None else base64.b64encode(sent).decode()]


def test_check_counts_its_warnings_and_a_ci_may_take_none(
    upgradepath: Type, services: Services, tmp_path: Path
) -> None:
    """Catches an "ok" that hides warnings, and a CI that passes because nobody was asked."""
    warning = {
        "kind": "invalid",
        "reason": "no mask rule",
        "field": "prisma/schema.prisma",
        "cure": "write one",
    }
    services.documents["check"] = {
        "system": "auth-system",
        "version": "1.3.0",
        "change": "minor",
        "refusals": [],
        "advice": [warning, warning],
    }
    passed = upgradepath("release", "check", str(EXAMPLE))
    assert (passed.exit_code, passed.stdout.partition(":")[0]) == (0, "ok, 2 warnings")
    strict = upgradepath("release", "check", str(EXAMPLE), "--strict")
    assert (strict.exit_code, strict.stdout) == (1, "")
    assert "2 warnings, and --strict takes none" in strict.stderr
    services.documents["check"]["advice"] = []
    assert upgradepath("release", "check", str(EXAMPLE), "--strict").stdout.startswith("ok: ")
    alone = upgradepath("release", "check", str(EXAMPLE), "--strict", UPGRADEPATH_WORLD=str(tmp_path))
    assert alone.exit_code == 3


def test_check_needs_no_registry(upgradepath: Type, tmp_path: Path) -> None:
    result = upgradepath("release", "check", str(EXAMPLE), UPGRADEPATH_WORLD=str(tmp_path))
    assert result.exit_code == 0
    assert "its files are in order" in result.stdout
    assert "was not asked" in result.stderr


def test_publish_sends_the_bytes_and_then_names_them(
    upgradepath: Type, services: Services, tmp_path: Path
) -> None:
    services.documents["published"] = {
        "release": documents.release().model_dump(mode="json"),
        "revision": 1,
        "change": "minor",
    }
    advice = {"kind": "invalid", "reason": "a column without a default", "field": "m", "cure": "give one"}
    services.documents["published"]["advice"] = [advice]
    packed = tmp_path / "auth-system-1.3.0.tar.gz"
    packed.write_bytes(pack_folder(EXAMPLE))
    for package in (EXAMPLE, packed):
        result = upgradepath("release", "publish", str(package))
        assert result.exit_code == 0, result.output
        assert "published auth-system 1.3.0 (minor)" in result.stdout
        assert "mind: a column without a default" in " ".join(result.stderr.split())
    assert services.uploads == [packed.read_bytes()] * 2
    command = services.commands[0][0].model_dump()
    assert (command["system"], command["version"], command["package"]) == ("auth-system", "1.3.0", "a" * 64)


def test_publish_waits_for_a_late_verdict_with_the_same_key(upgradepath: Type, services: Services) -> None:
    published = {"release": documents.release().model_dump(mode="json"), "revision": 1, "change": "minor"}
    services.documents["published"] = published
    services.statuses = [202, 201]
    result = upgradepath("release", "publish", str(EXAMPLE), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == published
    first, second = (key for _, key in services.commands)
    assert first == second


def test_what_is_no_package_is_refused_in_words(upgradepath: Type, tmp_path: Path) -> None:
    text = tmp_path / "note.txt"
    text.write_text("hello")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("files/x")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    linked = tmp_path / "linked.tar.gz"
    linked.write_bytes(gzip.compress(stream.getvalue()))
    for path in (text, linked):
        result = upgradepath("release", "publish", str(path))
        assert result.exit_code == 1
        assert "cure:" in result.stderr
    assert upgradepath("release", "publish", str(tmp_path / "none")).exit_code == 2


def test_list_and_show(upgradepath: Type, services: Services) -> None:
    shown = {
        "release": documents.release().model_dump(mode="json"),
        "changelog": "Adds status.",
        "migration_notes": "Ask the users.",
    }
    rows = [
        documents.release().model_dump(mode="json"),
        documents.release("1.2.4", "broke").model_dump(mode="json"),
    ]
    services.documents["registry/releases"] = rows
    services.documents["registry/releases/auth-system/1.3.0"] = shown
    listed = upgradepath("release", "list", "auth-system")
    assert "auth-system\t1.3.0" in listed.stdout
    assert "withdrawn: broke" in listed.stdout
    assert services.queries == ["system=auth-system"]
    result = upgradepath("release", "show", "auth-system", "1.3.0")
    for word in (
        "Adds status.",
        "Ask the users.",
        "no way back",
        "requires notifications-system",
        "breaking:",
    ):
        assert word in result.stdout
    assert json.loads(upgradepath("release", "list", "--json").stdout) == rows
    assert json.loads(upgradepath("release", "show", "auth-system", "1.3.0", "--json").stdout) == shown
