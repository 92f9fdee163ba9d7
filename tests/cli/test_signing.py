"""`release sign`, `release verify`, `release trust` and `verify`: by files alone, with exit codes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from shared.packages.archive import pack_folder

EXAMPLE = Path(__file__).parents[2] / "examples/systems/auth-system/1.3.0"
NAME = "auth-system-1.3.0.tar.gz"


def typed(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def well(*words: object) -> Result:
    result = typed(*words)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """The Library's desk: a key that is trusted, and a package signed with it."""
    well("key", "new", "--out", tmp_path / "library.pem", "--kid", "library-2026")
    well("release", "trust", "add", tmp_path / "keys.json", tmp_path / "library.jwks.json")
    well("release", "sign", EXAMPLE, "--key", tmp_path / "library.pem", "--builder", "ci", "--out", tmp_path)
    return tmp_path


def verified(desk: Path, *more: object) -> Result:
    return typed("release", "verify", desk / NAME, "--keys", desk / "keys.json", *more)


def test_a_signed_package_is_verified_offline(desk: Path) -> None:
    assert (desk / NAME).read_bytes() == pack_folder(EXAMPLE)
    found: dict[str, Any] = json.loads(verified(desk, "--json").output)
    assert (found["kid"], found["builder"], found["signed"]) == ("library-2026", "ci", True)
    assert "is signed by library-2026" in verified(desk).output


def test_what_is_not_signed_ends_with_1(desk: Path) -> None:
    """Another package, another signature, another key, bytes behind the archive."""
    changed = desk / "changed"
    shutil.copytree(EXAMPLE, changed)
    (changed / "files/signin.py").write_text("pass\n")
    assert (
        typed(
            "release",
            "verify",
            changed,
            "--signature",
            desk / f"{NAME}.dsse.json",
            "--keys",
            desk / "keys.json",
        ).exit_code
        == 1
    )
    well("key", "new", "--out", desk / "eve.pem", "--kid", "eve")
    well("release", "trust", "add", desk / "eves.json", desk / "eve.jwks.json")
    assert typed("release", "verify", desk / NAME, "--keys", desk / "eves.json").exit_code == 1
    (desk / NAME).write_bytes((desk / NAME).read_bytes() + b"\0")
    assert verified(desk).exit_code == 1
    assert verified(desk, "--signature", desk / "none.json").exit_code == 1


def test_a_revoked_key_proves_what_was_seen_before(desk: Path) -> None:
    keys = desk / "keys.json"
    well("release", "trust", "revoke", keys, "library-2026", "--reason", "stolen", "--at", "2026-06-01")
    later = verified(desk)
    assert later.exit_code == 1
    assert "revoked from 2026-06-01T00:00:00Z on (stolen)" in later.output
    listed = json.loads(well("release", "trust", "list", keys, "--json").output)
    assert listed["keys"][0]["reason"] == "stolen"
    # It does not come back by a later word.
    again = typed("release", "trust", "revoke", keys, "library-2026", "--reason", "oh", "--at", "2030-01-01")
    assert again.exit_code == 1
    assert typed("release", "trust", "revoke", keys, "nobody", "--reason", "oh").exit_code == 4


def test_two_keys_while_one_replaces_the_other(desk: Path) -> None:
    """Signed by both, it is good for who trusts only one of them."""
    well("key", "new", "--out", desk / "next.pem", "--kid", "library-2027")
    well("release", "trust", "add", desk / "next.json", desk / "next.jwks.json")
    (desk / f"{NAME}.dsse.json").unlink()
    pair = ("--key", desk / "library.pem", "--key", desk / "next.pem")
    well("release", "sign", desk / NAME, *pair, "--out", desk)
    assert verified(desk).exit_code == 0
    assert typed("release", "verify", desk / NAME, "--keys", desk / "next.json").exit_code == 0
    # A signature that is there is never overwritten with another one.
    assert typed("release", "sign", desk / NAME, "--key", desk / "library.pem", "--out", desk).exit_code == 1


def test_keys_of_another_use_are_not_the_librarys(desk: Path) -> None:
    """The file of people's or services' keys says no purpose."""
    assert typed("release", "verify", desk / NAME, "--keys", desk / "library.jwks.json").exit_code == 1


def test_a_trace_without_its_files_ends_with_1(desk: Path) -> None:
    well("key", "new", "--service", "registry", "--out", desk / "services")
    services = desk / "services/services.json"
    given = ("--keys", desk / "keys.json", "--service-keys", services)
    result = typed("verify", desk / NAME, desk / f"{NAME}.dsse.json", *given)
    assert result.exit_code == 1
    assert "receipt is not among the files" in result.output.replace("\n", " ")
    assert typed("verify", desk / "library.pem", "--alone", *given).exit_code == 1
