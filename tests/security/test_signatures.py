"""A package is used only if the Library signed exactly it, with a key that was good when the registry saw it.

Each case is a file, a key or a command of an attacker who may write to the content store, to the broker, and
to the registry's database, but has neither the Library's key nor the registry's.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from services.registry.settings import RegistrySettings
from shared.identity.keys import SigningKey, UnusableKey
from shared.signing.envelope import PAYLOAD_TYPE, Unproven
from shared.signing.library_keys import LibraryKeys, LibraryKeysFile, Validity
from shared.signing.releases import sign_receipt, verify_receipt, verify_release
from shared.signing.trust import Trust, Unsigned
from tests.security.papers import DAY, DIGEST, LIES, NAMED, NOW, STRANGER, envelope, payload_of, trusting
from tests.support.kept_dates import write_keeping_date
from tests.support.keys import PUBLIC_KEYS as PEOPLES_KEYS
from tests.support.keys import SIGNING_KEY as PEOPLES_KEY
from tests.support.proofs import KEYS, key_settings
from tests.support.signing import LIBRARY_KEY, LIBRARY_KEYS, TRUST


def test_a_signed_package_is_proven() -> None:
    found = verify_release(envelope(), NAMED, LIBRARY_KEYS, NOW)
    assert (found.kid, found.builder, found.signed_at) == (LIBRARY_KEY.kid, "tests", NOW)


def test_another_implementation_verifies_ours_and_we_verify_its() -> None:
    """Catches an encoding that only we understand."""
    public = SSlibKey.from_crypto(LIBRARY_KEY.private.public_key(), keyid=LIBRARY_KEY.kid)
    ours = OtherEnvelope.from_dict(json.loads(envelope()))
    assert set(ours.verify([public], 1)) == {LIBRARY_KEY.kid}
    theirs = OtherEnvelope(payload_of(envelope()), PAYLOAD_TYPE, {})
    theirs.sign(CryptoSigner(LIBRARY_KEY.private, public))
    assert verify_release(json.dumps(theirs.to_dict()).encode(), NAMED, LIBRARY_KEYS, NOW).builder == "tests"
    stranger = SSlibKey.from_crypto(STRANGER.private.public_key(), keyid=LIBRARY_KEY.kid)
    with pytest.raises(VerificationError):
        ours.verify([stranger], 1)


@pytest.mark.parametrize("lie", list(LIES))
def test_no_other_envelope_proves_the_package(lie: str) -> None:
    """Catches a check that is left out: each of these differs from a good envelope in one thing."""
    with pytest.raises(Unproven):
        verify_release(LIES[lie], NAMED, LIBRARY_KEYS, NOW)


def test_no_altered_byte_of_an_envelope_is_taken_for_another_statement() -> None:
    """Each byte changed, one after another: it is refused, or says exactly what was signed."""
    good = envelope()
    wanted = verify_release(good, NAMED, LIBRARY_KEYS, NOW)
    taken = 0
    for at in range(len(good)):
        changed = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        try:
            found = verify_release(changed, NAMED, LIBRARY_KEYS, NOW)
        except Unproven:
            continue
        taken += 1
        assert found == wanted
    # White space, and base64's other alphabet.
    assert taken < len(good) // 20


@pytest.mark.parametrize(
    ("validity", "at", "good"),
    [
        (Validity(purpose="library"), NOW, True),
        (Validity(purpose="library", not_before=NOW), NOW, True),
        (Validity(purpose="library", not_before=NOW + DAY), NOW, False),
        (Validity(purpose="library", not_after=NOW), NOW, True),
        (Validity(purpose="library", not_after=NOW - DAY), NOW, False),
        (Validity(purpose="library", revoked_at=NOW + DAY, reason="stolen"), NOW, True),
        (Validity(purpose="library", revoked_at=NOW, reason="stolen"), NOW, False),
        (Validity(purpose="library", revoked_at=NOW - DAY), NOW, False),
        (Validity(purpose="receipt"), NOW, False),
    ],
)
def test_a_key_is_good_in_its_time_and_for_its_purpose(validity: Validity, at: datetime, good: bool) -> None:
    keys = trusting(key=(LIBRARY_KEY, validity))
    if good:
        verify_release(envelope(), NAMED, keys, at)
    else:
        with pytest.raises(Unproven, match=r"revoked|good only|trusted for this"):
            verify_release(envelope(), NAMED, keys, at)


def test_a_thief_of_a_revoked_key_gains_nothing_by_an_older_time() -> None:
    """The time that he writes is his own; the registry's decides, at the gate and in its receipt."""
    keys = trusting(key=(LIBRARY_KEY, Validity(purpose="library", revoked_at=NOW, reason="stolen")))
    backdated = envelope(at=NOW - 30 * DAY)
    with pytest.raises(Unproven, match=r"revoked from 2026-06-01.*stolen"):
        verify_release(backdated, NAMED, keys, NOW + DAY)
    forged = sign_receipt(NAMED, backdated, LIBRARY_KEY.kid, NOW - 30 * DAY, LIBRARY_KEY)
    with pytest.raises(Unproven):
        verify_receipt(forged, backdated, NAMED, TRUST.registry, keys)


def test_a_receipt_by_a_former_key_stays_good_when_the_new_one_has_its_id() -> None:
    """Else every release that was published before the registry's key was replaced is refused."""
    former = SigningKey.new("registry")
    seen = sign_receipt(NAMED, envelope(), LIBRARY_KEY.kid, NOW, former)
    today = {"registry": SigningKey.new("registry").private.public_key()}
    keys = trusting(registry=(former, Validity(purpose="receipt", not_after=NOW + DAY)))
    assert verify_receipt(seen, envelope(), NAMED, today, keys) == NOW
    with pytest.raises(Unproven, match="altered"):
        verify_receipt(
            seen, envelope(), NAMED, today, trusting(key=(LIBRARY_KEY, Validity(purpose="library")))
        )
    ended = trusting(registry=(former, Validity(purpose="receipt", not_after=NOW - DAY)))
    with pytest.raises(Unproven, match="good only"):
        verify_receipt(seen, envelope(), NAMED, today, ended)


def test_two_keys_at_once_and_either_is_enough() -> None:
    """While one replaces the other: signed by both, good by the one that is still trusted."""
    new = SigningKey.new("library-2027")
    good, gone = Validity(purpose="library"), Validity(purpose="library", revoked_at=NOW - DAY)
    both = envelope(NAMED, LIBRARY_KEY, new)
    for keys in (
        trusting(new=(new, good)),
        trusting(old=(LIBRARY_KEY, good)),
        trusting(old=(LIBRARY_KEY, gone), new=(new, good)),
    ):
        verify_release(both, NAMED, keys, NOW)
    # An unknown signature beside a good one neither helps nor harms.
    verify_release(envelope(NAMED, STRANGER, LIBRARY_KEY), NAMED, LIBRARY_KEYS, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"keys": {}}',
        PEOPLES_KEYS.jwks(),
        LIBRARY_KEY.public().jwks(),
        LIBRARY_KEYS.text().replace('"library"', '"everything"'),
        LIBRARY_KEYS.text().replace('"purpose"', '"not_before": "2026-01-01T00:00:00", "purpose"'),
        LIBRARY_KEYS.text().replace('"purpose"', '"purpose": "receipt", "purpose"'),
        json.dumps({"keys": json.loads(LIBRARY_KEYS.text())["keys"] * 2}),
    ],
)
def test_a_file_of_keys_that_could_mean_something_else_is_refused(text: str) -> None:
    """A key without a purpose, of two purposes, twice, or with a moment without an offset."""
    with pytest.raises(UnusableKey):
        LibraryKeys.load(text)


def test_the_librarys_key_has_no_other_use(tmp_path: Path) -> None:
    """Catches a services' or tokens' key that became the Library's: whoever has that could sign packages."""
    for key in (KEYS["planner"], PEOPLES_KEY):
        with pytest.raises(ValueError, match="another use already"):
            _settings(trusting(key=(key, Validity(purpose="library"))).text())
    assert _settings(LIBRARY_KEYS.text()).trust.library == LIBRARY_KEYS
    with pytest.raises(ValueError, match="UPGRADES_LIBRARY_KEYS"):
        _settings(str(tmp_path / "none.json"))


def test_a_revoked_key_is_out_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "library.json"
    file.write_text(LIBRARY_KEYS.text())
    trust = Trust(LibraryKeysFile(file))
    assert trust.library == LIBRARY_KEYS
    file.write_text("{")
    assert trust.library == LIBRARY_KEYS, "what cannot be read leaves what was"
    gone = trusting(key=(LIBRARY_KEY, Validity(purpose="library", revoked_at=NOW, reason="stolen")))
    file.write_text(gone.text())
    assert trust.library == gone


def test_a_key_that_was_revoked_in_a_file_of_the_same_size_and_date_is_out(tmp_path: Path) -> None:
    """Would catch a stolen key that counts on because `cp --preserve` or a backup kept the file's date."""
    file = tmp_path / "library.json"
    good, gone = (
        trusting(key=(LIBRARY_KEY, Validity(purpose="library", revoked_at=at)))
        for at in (NOW + 365 * DAY, NOW)
    )
    file.write_text(good.text())
    keys = LibraryKeysFile(file)
    write_keeping_date(file, gone.text())
    assert keys.now() == gone


@pytest.mark.parametrize("wrong", ["maybe", "0" * 63, f"{'0' * 64},all", "G" * 64])
def test_what_may_be_unsigned_is_said_exactly(wrong: str) -> None:
    with pytest.raises(ValueError, match="UPGRADES_ALLOW_UNSIGNED"):
        Unsigned.read(wrong)
    assert not Unsigned.read("").has(DIGEST)
    assert Unsigned.read("true").has(DIGEST)
    assert Unsigned.read(f"{DIGEST}, {'0' * 64}").has(DIGEST)
    assert not Unsigned.read("0" * 64).has(DIGEST)


def _settings(library_keys: str) -> RegistrySettings:
    return RegistrySettings(
        content_url="memory:///",
        token_public_keys=PEOPLES_KEYS,
        database_url="postgresql://registry@127.0.0.1/registry",
        library_keys=library_keys,
        **key_settings("registry"),
    )
