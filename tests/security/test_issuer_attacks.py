"""No issuer speaks for another, for a Project that is not its own, or for a role that nobody gave it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts.values import Actor
from shared.identity.issuers import IssuerFile
from shared.identity.key_sources import FixedKeys
from shared.identity.keys import PublicKeys
from shared.identity.revoked import RevokedTokens, before_line
from shared.identity.tokens import InvalidToken, TokenVerifier, TrustedIssuer
from tests.security.issuer_attacks import (
    ACME,
    ACME_SETTINGS,
    ACMES,
    ATTACKS,
    FILE,
    HARBOUR_SETTINGS,
    HARBOURS,
    VERIFIER,
    IssuerAttack,
    acmes,
    harbours,
    trusting,
)
from tests.security.token_attacks import claims, signed


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_it_proves_nobody(attack: IssuerAttack) -> None:
    token = attack.make()
    with pytest.raises(InvalidToken, match=attack.because) as refused:
        VERIFIER.verify(token)
    assert token.rpartition(".")[2] not in str(refused.value)


def test_good_tokens_of_both_issuers_and_of_our_own_count() -> None:
    """The attacks differ from tokens that are right; ids of two issuers and ours never meet."""
    mira = Actor(id="mira@acme.example", role="maintainer", projects=("acme-portal",))
    assert VERIFIER.verify(acmes()) == mira
    assert VERIFIER.verify(acmes(email="Mira@ACME.example")) == mira
    assert VERIFIER.verify(acmes(groups="upgradepath-maintainers-acme-portal")) == mira
    assert VERIFIER.verify(harbours()) == Actor(id="harbour:mira", role="maintainer", projects=("harbour",))
    operators = {"roles": ["people", "operators"]}
    assert VERIFIER.verify(harbours(realm_access=operators)).role == "sre"
    assert VERIFIER.verify(signed(claims())) == mira


def test_groups_add_up_within_what_the_issuer_may_say() -> None:
    groups = [f"upgradepath-maintainers-{name}" for name in ("acme-shop", "harbour", "acme-portal")]
    assert VERIFIER.verify(acmes(groups=groups)).projects == ("acme-portal", "acme-shop")


def test_a_service_audience_of_an_issuer_is_that_services_alone() -> None:
    token = acmes(aud="upgradepath/planner")
    assert VERIFIER.verify(token, service="planner").id == "mira@acme.example"
    with pytest.raises(InvalidToken, match="another audience"):
        VERIFIER.verify(token, service="registry")


def _with(**changed: Any) -> dict[str, Any]:
    first = {**ACME_SETTINGS.model_dump(exclude_unset=True), **changed}
    return {"issuers": [{name: value for name, value in first.items() if value is not None}]}


@pytest.mark.parametrize(
    ("changed", "because"),
    [
        ({"projects": None}, "which Projects"),
        ({"rules": None}, "which of its groups"),
        ({"rules": [{"group": "ops", "role": "sre"}]}, "not among `roles`"),
        ({"rules": [{"group": "ops", "role": "maintainer"}]}, "which Projects they maintain"),
        ({"rules": [{"group": "p", "role": "maintainer", "projects": ["harbour"]}]}, "not among `projects`"),
        ({"rules": [{"group": "<project>-<project>", "role": "maintainer"}]}, "stands once"),
        ({"roles": ["sre"], "rules": [{"group": "ops-<project>", "role": "sre"}]}, "stands once"),
        ({"roles": ["owner"]}, "roles"),
        ({"projects": ["*-portal"]}, "projects"),
        ({"subject": "name"}, "subject"),
        ({"subject": None}, "`domain` needs"),
        ({"issuer": "https://mira:pw@login.acme.example"}, "issuer"),
        ({"issuer": "https://login.acme.example?x=1"}, "issuer"),
        ({"issuer": "ftp://login.acme.example"}, "issuer"),
        ({"valid_at_most_h": 745}, "valid_at_most_h"),
        ({"keys_kept_h": 100}, "keys_kept_h"),
        ({"name": "own:"}, "name"),
        ({"audience": []}, "audience"),
        ({"group": "groups"}, "group"),
    ],
)
def test_settings_that_would_give_away_more_than_they_say_are_refused(
    changed: dict[str, Any], because: str
) -> None:
    with pytest.raises(ValidationError, match=because):
        IssuerFile.model_validate(_with(**changed))


@pytest.mark.parametrize("same", ["name", "issuer", "domain"])
def test_two_issuers_are_never_one(same: str) -> None:
    """Would catch people of two issuers with one id, and one of whom nobody knows which keys count."""
    other = {**HARBOUR_SETTINGS.model_dump(exclude_unset=True), "subject": "email"}
    other[same] = getattr(ACME_SETTINGS, same)
    both = [ACME_SETTINGS.model_dump(exclude_unset=True), other]
    with pytest.raises(ValidationError, match=f"two issuers have the {same}"):
        IssuerFile.model_validate({"issuers": both})


def test_claims_of_ours_count_where_an_issuer_may_make_them_and_no_further() -> None:
    settings = HARBOUR_SETTINGS.model_copy(update={"own_claims": True})
    verifier = trusting((settings, HARBOURS.public()))
    allowed = harbours(role="maintainer", projects=["harbour"])
    assert verifier.verify(allowed) == Actor(id="harbour:mira", role="maintainer", projects=("harbour",))
    for wrong in (
        {"role": "library"},
        {"role": ["sre"]},
        {"role": "maintainer", "projects": ["acme-portal"]},
        {"role": "maintainer", "projects": ["harbour", "acme-portal"]},
        {"role": "maintainer", "projects": "harbour"},
        {"role": "maintainer"},
    ):
        with pytest.raises(InvalidToken, match=r"`role`|`projects`"):
            verifier.verify(harbours(**wrong))


def test_without_issuers_an_iss_is_nobodys_business() -> None:
    """A provider's keys in the file of ours count as before: its tokens carry claims of ours."""
    verifier = TokenVerifier(ACMES.public())
    own = signed(claims(iss=ACME), {"kid": "main"}, ACMES.private)
    assert verifier.verify(own).id == "mira@acme.example"


# --- revocation ----------------------------------------------------------------------------------


def _revoking(path: Path) -> TokenVerifier:
    trusted = [TrustedIssuer(ACME_SETTINGS, FixedKeys(ACMES.public()))]
    return TokenVerifier(PublicKeys({}), RevokedTokens(path), trusted)


@pytest.mark.parametrize(
    ("issued_after_s", "counts"),
    [(-3600, False), (-1, False), (0, False), (29, False), (30, True), (60, True)],
)
def test_what_was_issued_before_counts_no_longer(tmp_path: Path, issued_after_s: float, counts: bool) -> None:
    """Also what an issuer made before, whose clock is ahead by as much as we bear."""
    listed = tmp_path / "revoked"
    moment = int(time.time()) - 100
    listed.write_text(before_line("mira@acme.example", datetime.fromtimestamp(moment, UTC)) + "\n")
    token = acmes(iat=moment + issued_after_s, exp=time.time() + 60)
    if counts:
        assert _revoking(listed).verify(token).id == "mira@acme.example"
    else:
        with pytest.raises(InvalidToken, match="revoked"):
            _revoking(listed).verify(token)


def test_a_revocation_is_one_persons_and_the_latest_one_counts(tmp_path: Path) -> None:
    listed = tmp_path / "revoked"
    listed.write_text("")
    verifier = _revoking(listed)
    token = acmes()
    assert verifier.verify(token).id == "mira@acme.example"
    later = before_line("mira@acme.example", datetime.now(UTC))
    listed.write_text(f"{later}\nbefore 2020-01-01T00:00:00Z mira@acme.example\n")
    with pytest.raises(InvalidToken, match="revoked"):
        verifier.verify(token)
    # It was sent before it was revoked: whoever had it may have sent this, too.
    with pytest.raises(InvalidToken, match="revoked"):
        verifier.verify(token, at=datetime.now(UTC))
    assert verifier.verify(acmes(email="noor@acme.example")).id == "noor@acme.example"


def test_a_line_that_nobody_can_read_does_not_hide_the_others(tmp_path: Path) -> None:
    """Would catch a typing error at 3 a.m. by which a lost token counts on."""
    listed = tmp_path / "revoked"
    listed.write_text("")
    verifier = _revoking(listed)
    listed.write_text("before yesterday mira@acme.example\nlost-1\n")
    with pytest.raises(InvalidToken, match="revoked"):
        verifier.verify(acmes(jti="lost-1"))
    assert verifier.verify(acmes(jti="lost-2")).id == "mira@acme.example"
    assert any("line 1" in trouble for trouble in verifier.troubles())
    with pytest.raises(ValueError, match="line 1"):
        RevokedTokens(listed)


def test_the_settings_of_the_attacks_are_those_of_two_partners() -> None:
    assert [each.name for each in FILE.issuers] == ["acme", "harbour"]
