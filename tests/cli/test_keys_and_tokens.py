"""`upgradepath key new` and `token issue`: what they write, what they refuse, and who may read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.clock import utc_now
from shared.contracts.values import Actor
from shared.identity.keys import PublicKeys
from shared.identity.tokens import InvalidToken, TokenVerifier
from shared.token_settings import public_keys
from tests.cli.conftest import Type
from tests.support.keys import KEY, PUBLIC_KEYS

MIRA = ("--subject", "mira@acme.example", "--role", "maintainer", "--project", "acme-portal")


def test_a_key_pair_issues_tokens_that_its_public_half_proves(upgradepath: Type, tmp_path: Path) -> None:
    made = upgradepath("key", "new", "--out", str(tmp_path / "people.pem"))
    assert made.exit_code == 0, made.output
    assert (tmp_path / "people.pem").stat().st_mode & 0o777 == 0o600
    keys = public_keys(str(tmp_path / "people.jwks.json"))
    assert json.loads(made.stdout) == json.loads(keys.jwks())
    issued = upgradepath("token", "issue", "--key", str(tmp_path / "people.pem"), *MIRA)
    assert issued.exit_code == 0, issued.output
    token = issued.stdout.strip()
    proven = TokenVerifier(keys).verify(token)
    assert proven == Actor(id="mira@acme.example", role="maintainer", projects=("acme-portal",))
    assert token not in issued.stderr


def test_a_token_ends_after_a_day_of_work(upgradepath: Type, tmp_path: Path) -> None:
    from datetime import timedelta

    upgradepath("key", "new", "--out", str(tmp_path), "--kid", "people")
    private, public = tmp_path / "upgradepath-key.pem", tmp_path / "upgradepath-key.jwks.json"
    verifier = TokenVerifier(PublicKeys.load(public.read_text()))
    issue = ("token", "issue", "--key", str(private), "--kid", "people", *MIRA)
    token = upgradepath(*issue).stdout.strip()
    verifier.verify(token, at=utc_now() + timedelta(hours=7, minutes=59))
    with pytest.raises(InvalidToken, match="expired"):
        verifier.verify(token, at=utc_now() + timedelta(hours=8, minutes=1))


def test_a_key_is_never_overwritten(upgradepath: Type, tmp_path: Path) -> None:
    target = tmp_path / "people.pem"
    upgradepath("key", "new", "--out", str(target))
    before = target.read_bytes()
    again = upgradepath("key", "new", "--out", str(target))
    assert (again.exit_code, target.read_bytes()) == (1, before)
    assert "never overwritten" in again.stderr
    (tmp_path / "other.jwks.json").write_text("kept")
    assert upgradepath("key", "new", "--out", str(tmp_path / "other.pem")).exit_code == 1
    assert not (tmp_path / "other.pem").exists()
    (tmp_path / "link.pem").symlink_to(tmp_path / "elsewhere")
    assert upgradepath("key", "new", "--out", str(tmp_path / "link.pem")).exit_code == 1
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("valid_for", ["8d", "0s", "forever", "-1h", "9999999d", "", "1.5h", "١h"])
def test_no_token_lasts_longer_than_a_week(upgradepath: Type, tmp_path: Path, valid_for: str) -> None:
    key = tmp_path / "key.pem"
    key.write_text(KEY.get_secret_value())
    refused = upgradepath("token", "issue", "--key", str(key), *MIRA, f"--valid-for={valid_for}")
    assert (refused.exit_code, refused.stdout) == (2, "")


@pytest.mark.parametrize(
    ("options", "exit_code"),
    [
        (("--subject", "mira@acme.example", "--role", "maintainer"), 2),
        (("--subject", "mira@acme.example"), 2),
        (("--subject", "", "--role", "sre"), 2),
        (("--subject", "mira@acme.example", "--role", "owner"), 2),
        (("--subject", "mira@acme.example", "--role", "maintainer", "--project", "No Project"), 2),
    ],
)
def test_whom_a_token_is_for_must_be_said(
    upgradepath: Type, tmp_path: Path, options: tuple[str, ...], exit_code: int
) -> None:
    key = tmp_path / "key.pem"
    key.write_text(KEY.get_secret_value())
    refused = upgradepath("token", "issue", "--key", str(key), *options)
    assert (refused.exit_code, refused.stdout) == (exit_code, "")


@pytest.mark.parametrize("text", ["k" * 64, PUBLIC_KEYS.jwks(), "", None])
def test_what_is_no_private_key_issues_nothing(upgradepath: Type, tmp_path: Path, text: str | None) -> None:
    key = tmp_path / "key"
    if text is not None:
        key.write_text(text)
    refused = upgradepath("token", "issue", "--key", str(key), *MIRA)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "upgradepath key new" in refused.stderr
    assert not text or text not in refused.stderr


def test_a_local_world_issues_with_its_own_key(upgradepath: Type, world: Path) -> None:
    (world / "settings.json").write_text(
        json.dumps({"port": 0, "postgres_port": 0, "token_key": KEY.get_secret_value()})
    )
    issued = upgradepath("token", "issue", "--as", "sre")
    assert issued.exit_code == 0, issued.output
    assert TokenVerifier(PUBLIC_KEYS).verify(issued.stdout.strip()).role == "sre"
