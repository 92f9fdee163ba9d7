"""`token list`, `token revoke`, `key rotate` and `key retire`: what was issued, called back and replaced."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from shared.contracts.values import Actor
from shared.identity import revoked as revoked_file
from shared.identity.key_sources import KeyFile
from shared.identity.keys import PublicKeys
from shared.identity.revoked import RevokedTokens
from shared.identity.tokens import InvalidToken, TokenVerifier
from tests.cli.conftest import Type
from tests.support.keys import KEY

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
MIRA = ("--subject", "mira@acme.example", "--role", "maintainer", "--project", "acme-portal")
SAM = ("--subject", "sam@platform.example", "--role", "sre")


class Desk:
    """An issuer of tokens, and a service that reads its files."""

    def __init__(self, upgradepath: Type, folder: Path) -> None:
        self.type, self.folder = upgradepath, folder
        self.key, self.public = folder / "people.pem", folder / "people.jwks.json"
        self.listed = folder / "revoked"
        self.listed.write_text("# lost tokens")
        assert upgradepath("key", "new", "--out", str(self.key)).exit_code == 0
        self.service = TokenVerifier(KeyFile(self.public), RevokedTokens(self.listed))

    def issue(self, *options: str, key: Path | None = None) -> str:
        issued = self.type("token", "issue", "--key", str(key or self.key), *options)
        assert issued.exit_code == 0, issued.output
        return issued.stdout.strip()

    def list(self, *options: str) -> list[dict[str, Any]]:
        how = ("--key", str(self.key), "--revoked", str(self.listed), "--json")
        shown = self.type("token", "list", *how, *options)
        assert shown.exit_code == 0, shown.output
        found: list[dict[str, Any]] = json.loads(shown.stdout)
        return found

    def revoke(self, *options: str) -> Any:
        return self.type("token", "revoke", "--key", str(self.key), "--revoked", str(self.listed), *options)

    def is_good(self, token: str) -> bool:
        try:
            self.service.verify(token)
        except InvalidToken:
            return False
        return True


@pytest.fixture
def desk(upgradepath: Type, tmp_path: Path) -> Desk:
    return Desk(upgradepath, tmp_path)


def test_each_issued_token_is_listed_and_never_itself(desk: Desk) -> None:
    with time_machine.travel(NOON, tick=False):
        token, other = desk.issue(*MIRA), desk.issue(*SAM, "--service", "planner", "--valid-for", "30m")
        found = {each["subject"]: each for each in desk.list()}
        mira, sam = found["mira@acme.example"], found["sam@platform.example"]
        assert (mira["role"], mira["projects"], mira["state"]) == ("maintainer", ["acme-portal"], "good")
        assert (mira["issued"], mira["expires"]) == ("2026-12-01T12:00:00Z", "2026-12-01T20:00:00Z")
        assert (sam["audience"], sam["expires"]) == ("upgradepath/planner", "2026-12-01T12:30:00Z")
    with time_machine.travel(NOON + timedelta(hours=1), tick=False):
        assert [each["subject"] for each in desk.list()] == ["mira@acme.example"]
        assert {each["state"] for each in desk.list("--all")} == {"good", "ended"}
    register = desk.folder / "issued-tokens.jsonl"
    assert register.stat().st_mode & 0o777 == 0o600
    kept = register.read_text()
    assert not any(part in kept for each in (token, other) for part in each.split(".")[1:])


def test_a_subject_that_ends_lines_elsewhere_is_one_entry(desk: Desk) -> None:
    """Would catch a register that one odd name spoils: no list, no rotation, no retirement."""
    odd = "mira\u2028\u2029\x85\x0b\x0c\x1c\r@acme.example"
    desk.issue("--subject", odd, "--role", "sre")
    desk.issue(*SAM)
    assert {each["subject"] for each in desk.list()} == {odd, "sam@platform.example"}


def test_a_token_that_cannot_be_registered_is_not_issued(desk: Desk) -> None:
    (desk.folder / "issued-tokens.jsonl").mkdir()
    refused = desk.type("token", "issue", "--key", str(desk.key), *MIRA)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "registered" in refused.stderr


def test_one_token_is_called_back_and_no_other(desk: Desk) -> None:
    """Also behind a last line without its end, with which another line would become one."""
    lost, kept = desk.issue(*MIRA), desk.issue(*MIRA)
    assert desk.is_good(lost)
    token_id = next(each["jti"] for each in desk.list() if each["jti"] in str(_claims(lost)))
    assert desk.revoke(token_id).exit_code == 0
    assert (desk.is_good(lost), desk.is_good(kept)) == (False, True)
    assert {each["jti"]: each["state"] for each in desk.list()}[token_id] == "revoked"
    assert desk.listed.read_text() == f"# lost tokens\n{token_id}\n"


def _claims(token: str) -> Any:
    from shared.identity.claims import unproven_claims

    return unproven_claims(token)


def test_everything_of_one_person_is_called_back_and_new_ones_count(desk: Desk) -> None:
    with time_machine.travel(NOON, tick=False):
        lost, sams = [desk.issue(*MIRA), desk.issue(*MIRA)], desk.issue(*SAM)
        assert desk.revoke("--subject", "mira@acme.example").exit_code == 0
        assert [desk.is_good(each) for each in (*lost, sams)] == [False, False, True]
    with time_machine.travel(NOON + timedelta(seconds=31), tick=False):
        assert desk.is_good(desk.issue(*MIRA))
        assert [each["state"] for each in desk.list() if each["role"] == "maintainer"].count("good") == 1


@pytest.mark.parametrize(
    "given",
    [
        (),
        ("two words",),
        ("#remark",),
        ("line\nbreak",),
        ("",),
        ("x" * 201,),
        ("--subject", " "),
        ("--subject", "mira\nlost-2"),
        ("--subject", ""),
    ],
    ids=repr,
)
def test_what_could_not_be_called_back_is_refused_and_changes_nothing(
    desk: Desk, given: tuple[str, ...]
) -> None:
    """Would catch a typing error that somebody takes for a revocation, and a line that calls back another."""
    assert desk.revoke(*given).exit_code in {1, 2}
    assert desk.listed.read_text() == "# lost tokens"


def test_a_list_that_services_would_not_read_is_not_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.token_revoking.BYTES_MAX", 20)
    refused = desk.revoke("lost-1")
    assert refused.exit_code == 1
    assert "--tidy" in refused.stderr
    assert "lost-1" not in desk.listed.read_text()
    assert revoked_file.BYTES_MAX > 20


def test_tidying_leaves_out_only_what_is_known_to_have_ended_long_ago(desk: Desk) -> None:
    """Would catch a stolen token of another issuer, or one on a topic, that counts again after a clean-up."""
    with time_machine.travel(NOON - timedelta(days=70), tick=False):
        desk.issue(*MIRA)
        old = desk.list("--all")[0]["jti"]
    with time_machine.travel(NOON - timedelta(days=40), tick=False):
        desk.issue(*MIRA)
        younger = desk.list()[0]["jti"]
    with time_machine.travel(NOON, tick=False):
        assert desk.revoke(old, younger, "anothers").exit_code == 0
        assert desk.revoke("--tidy").exit_code == 0
    assert desk.listed.read_text() == f"# lost tokens\n{younger}\nanothers\n"


def test_a_rotation_refuses_no_valid_token_at_any_moment(desk: Desk) -> None:
    """Would catch a next key that replaces the old one, and an old one that is taken out too early."""
    with time_machine.travel(NOON, tick=False):
        before = desk.issue(*MIRA, "--valid-for", "2d")
        rotated = desk.type("key", "rotate", str(desk.key))
        assert rotated.exit_code == 0, rotated.output
        assert "2026-12-03 12:00" in rotated.stdout
        following = desk.folder / "people-2.pem"
        assert following.stat().st_mode & 0o777 == 0o600
        assert all(map(desk.is_good, (before, desk.issue(*MIRA), desk.issue(*SAM, key=following))))
        [old, _] = PublicKeys.load(desk.public.read_text())
        early = desk.type("key", "retire", "--", str(desk.public), old)
        assert (early.exit_code, desk.is_good(before)) == (1, True)
        assert "2026-12-03 12:00" in early.stderr
        assert "revoke" not in early.stderr, "it is refused for revoked ones, too"
    with time_machine.travel(NOON + timedelta(days=2, minutes=1), tick=False):
        after = desk.issue(*MIRA, key=following)
        assert desk.type("key", "retire", "--", str(desk.public), old).exit_code == 0
        assert desk.is_good(after)
        assert not desk.is_good(desk.issue(*MIRA))
        last = desk.type("key", "retire", "--", str(desk.public), *PublicKeys.load(desk.public.read_text()))
        assert (last.exit_code, desk.is_good(after)) == (1, True)


def test_a_key_is_not_taken_out_where_no_register_tells_of_its_tokens(desk: Desk) -> None:
    """Would catch "none is left" of a JWK Set in another folder: the register lies beside the key."""
    served = desk.folder / "etc" / "served.jwks.json"
    served.parent.mkdir()
    served.write_text(desk.public.read_text())
    with time_machine.travel(NOON, tick=False):
        desk.issue(*MIRA)
        rotated = desk.type("key", "rotate", str(desk.key), "--public", str(served))
        assert rotated.exit_code == 0, rotated.output
        both = served.read_text()
        said = shlex.split(rotated.stdout.split(": upgradepath ")[-1])
        assert said[2:4] == ["--key", str(desk.key)]
        nowhere = said[:2] + said[4:]
        untold, early = desk.type(*nowhere), desk.type(*said)
        assert (untold.exit_code, early.exit_code, served.read_text()) == (1, 1, both)
        assert "nobody can tell" in untold.stderr
        assert "2026-12-01 20:00" in early.stderr
    with time_machine.travel(NOON + timedelta(hours=9), tick=False):
        assert [desk.type(*each).exit_code for each in (nowhere, said)] == [1, 0]
    assert said[-1] not in PublicKeys.load(served.read_text()).by_kid
    served.write_text(both)
    assert desk.type(*said[:2], "--at-once", *nowhere[2:]).exit_code == 0


def test_a_lost_key_is_taken_out_at_once(desk: Desk) -> None:
    token = desk.issue(*MIRA)
    desk.type("key", "rotate", str(desk.key))
    [old, _] = PublicKeys.load(desk.public.read_text())
    assert desk.type("key", "retire", "--at-once", "--", str(desk.public), old).exit_code == 0
    assert not desk.is_good(token)


def test_keys_with_ids_rotate_on_and_on(desk: Desk) -> None:
    """Tokens by a key with an id of its own name that one, without anybody saying so."""
    for kid, key in (("spring", "people.pem"), ("summer", "people-2.pem")):
        rotated = desk.type(
            "key", "rotate", str(desk.folder / key), "--kid", kid, "--public", str(desk.public)
        )
        assert rotated.exit_code == 0, rotated.output
    assert [*PublicKeys.load(desk.public.read_text())][1:] == ["spring", "summer"]
    token = desk.issue(*SAM, key=desk.folder / "people-3.pem")
    assert desk.service.verify(token) == Actor(id="sam@platform.example", role="sre")
    again = desk.type("key", "rotate", str(desk.folder / "people-3.pem"), "--public", str(desk.public))
    assert again.exit_code == 0


def test_a_key_whose_id_looks_like_an_option_is_taken_out_as_was_said(desk: Desk) -> None:
    """One thumbprint of 64 begins with a hyphen."""
    desk.issue(*MIRA, "--valid-for", "1m")
    assert desk.type("key", "rotate", str(desk.key), "--kid=-x").exit_code == 0
    second = str(desk.folder / "people-2.pem")
    rotated = desk.type("key", "rotate", second, "--public", str(desk.public))
    retired = desk.type(*shlex.split(rotated.stdout.split(": upgradepath ")[-1]))
    assert retired.exit_code == 0, retired.output
    assert "-x" not in PublicKeys.load(desk.public.read_text()).by_kid


def test_nothing_is_made_where_the_services_do_not_know_the_key(desk: Desk) -> None:
    other = desk.folder / "other.pem"
    other.write_text(KEY.get_secret_value())
    before = desk.public.read_text()
    refused = desk.type("key", "rotate", str(other), "--public", str(desk.public))
    assert refused.exit_code == 1
    assert not (desk.folder / "other-2.pem").exists()
    (desk.folder / "people-2.pem").write_text("kept")
    assert desk.type("key", "rotate", str(desk.key)).exit_code == 1
    assert (desk.public.read_text(), (desk.folder / "people-2.pem").read_text()) == (before, "kept")


def test_in_a_local_world_the_register_is_the_worlds(upgradepath: Type, world: Path) -> None:
    (world / "settings.json").write_text(
        json.dumps({"port": 0, "postgres_port": 0, "token_key": KEY.get_secret_value()})
    )
    assert upgradepath("token", "issue", "--as", "sre").exit_code == 0
    shown = upgradepath("token", "list")
    assert shown.exit_code == 0, shown.output
    assert "sre" in shown.stdout
    assert "UPGRADES_TOKEN_REVOKED" in shown.stderr
