"""The gate and the executor use a package only once its signature is proven, each by its own settings.

The attacker may write to the content store, to the broker, and to the registry's database, but has neither
the Library's key nor the registry's.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.executor.stages.tools import Tools
from services.registry.signatures import SignatureCheck
from shared.clients.content import ContentStore
from shared.clients.secrets import Secrets
from shared.contracts.releases import PublishRelease, ReleaseSignature
from shared.contracts.tasks import Upgrade
from shared.contracts.values import Actor
from shared.errors import Failure, Reject, Retry
from shared.identity.keys import SigningKey
from shared.identity.proofs import Signer
from shared.signing.envelope import SMALL_BYTES_MAX, Envelope, Unproven
from shared.signing.library_keys import Validity
from shared.signing.releases import sign_receipt, verify_receipt
from shared.signing.trust import Trust, Unsigned
from tests.security.papers import DATA, DAY, DIGEST, NAMED, NOW, STRANGER, envelope, trusting
from tests.support.backups import backups
from tests.support.proofs import KEYS
from tests.support.signing import LIBRARY_KEY, LIBRARY_KEYS, TRUST, UNSIGNED, signed

LENA = Actor(id="lena@library.example", role="library")


def command(**changes: Any) -> PublishRelease:
    given = {"actor": LENA, "system": "auth-system", "version": "1.3.0", "package": DIGEST}
    return PublishRelease.model_validate(given | changes)


async def test_the_gate_takes_a_signed_package_and_gives_a_receipt() -> None:
    content = ContentStore("memory:///")
    kept = await content.put(envelope())
    check = SignatureCheck(content, TRUST, KEYS["registry"])
    found = await check.verified(command(signature=kept), NOW)
    assert found is not None
    assert (found.envelope, found.kid, found.signed_at) == (kept, LIBRARY_KEY.kid, NOW)
    await TRUST.require(NAMED, found, content)


async def test_the_gate_refuses_what_is_not_signed_for_exactly_this() -> None:
    content = ContentStore("memory:///")
    check = SignatureCheck(content, TRUST, KEYS["registry"])
    kept = await content.put(envelope())
    large = await content.put(b" " * (SMALL_BYTES_MAX + 1))
    for wrong in (
        {},
        {"signature": "0" * 64},
        {"signature": large},
        {"signature": kept, "version": "1.3.1"},
        {"signature": kept, "system": "quote-engine"},
        {"signature": kept, "package": hashlib.sha256(DATA + b"\0").hexdigest()},
        {"signature": await content.put(envelope(NAMED, STRANGER))},
    ):
        with pytest.raises(Reject) as refused:
            await check.verified(command(**wrong), NOW)
        [refusal] = refused.value.refusals
        assert refusal.field == "signature"
        assert "release" in refusal.cure


async def test_an_unsigned_package_is_taken_only_where_a_setting_allows_it() -> None:
    content = ContentStore("memory:///")
    for unsigned in (Unsigned(all=True), Unsigned(digests=frozenset({DIGEST}))):
        assert await SignatureCheck(content, Trust(unsigned=unsigned)).verified(command(), NOW) is None
    # What is signed wrongly is refused all the same.
    with pytest.raises(Reject):
        await SignatureCheck(content, UNSIGNED).verified(command(signature="0" * 64), NOW)


def test_a_check_foretells_the_gates_word_about_a_signature() -> None:
    """Nothing is stored for it, and it never says yes to what the gate refuses."""
    stores = ContentStore("memory:///")
    for trust, letter, found, accepted, refused in (
        (TRUST, envelope(), "signed", True, False),
        (TRUST, None, "unsigned", False, False),
        (UNSIGNED, None, "unsigned", True, False),
        (UNSIGNED, envelope(), "not proven", False, True),
        (TRUST, envelope(NAMED, STRANGER), "not proven", False, True),
        (TRUST, b"", "not proven", False, True),
    ):
        signing, refusal = SignatureCheck(stores, trust, KEYS["registry"]).foreseen(command(), letter, NOW)
        assert (signing.found, signing.accepted, refusal is not None) == (found, accepted, refused)


# --- the executor --------------------------------------------------------------------------------


async def _world(tmp_path: Path, trust: Trust = TRUST) -> tuple[Tools, Upgrade]:
    """A worker, and an upgrade whose packages are signed and seen."""
    tools = Tools(ContentStore("memory:///"), Secrets(None, {}), tmp_path, backups(), trust=trust)
    check = SignatureCheck(tools.content, TRUST, KEYS["registry"])
    package = await tools.content.put(DATA)
    kept = {}
    for version in ("1.2.4", "1.3.0"):
        letter = await tools.content.put(signed("auth-system", version, package, at=NOW))
        kept[version] = await check.verified(command(version=version, signature=letter), NOW)
    return tools, Upgrade(
        system="auth-system",
        from_version="1.2.4",
        to_version="1.3.0",
        from_package=package,
        to_package=package,
        from_signature=kept["1.2.4"],
        to_signature=kept["1.3.0"],
    )


async def test_the_executor_uses_a_package_only_once_it_is_proven(tmp_path: Path) -> None:
    """Catches a command by which a worker reads a file that the Library did not sign."""
    tools, upgrade = await _world(tmp_path)
    await tools.require_proven(upgrade)
    signature = upgrade.to_signature
    assert signature is not None
    backdated = sign_receipt(NAMED, envelope(), LIBRARY_KEY.kid, NOW - DAY, STRANGER)
    of_planner = sign_receipt(NAMED, envelope(), LIBRARY_KEY.kid, NOW, KEYS["planner"])
    put = tools.content.put
    for wrong in (
        {"to_signature": None},
        {"to_signature": upgrade.from_signature},
        {"to_version": "1.4.0"},
        {"system": "quote-engine"},
        {"to_package": await put(DATA + b"\0")},
        {"to_signature": signature.with_(envelope=signature.receipt)},
        {"to_signature": signature.with_(receipt=signature.envelope)},
        {"to_signature": signature.with_(envelope=await put(envelope(NAMED, STRANGER)))},
        {"to_signature": signature.with_(receipt=await put(backdated))},
        {"to_signature": signature.with_(receipt=await put(of_planner))},
    ):
        with pytest.raises(Failure, match="is not proven") as refused:
            await tools.new_package(upgrade.with_(**wrong))
        [finding] = refused.value.outcome.findings
        assert finding.kind == "package"
        assert finding.cure
    # The store lacks it, of which the package is not guilty: nothing is used, and it is asked again.
    for absent in ("envelope", "receipt"):
        with pytest.raises(Retry, match="cannot be had"):
            await tools.new_package(upgrade.with_(to_signature=signature.with_(**{absent: "0" * 64})))
    # The one that is pinned is merged with: it has to be proven, too.
    with pytest.raises(Failure, match=r"1\.2\.4 is not proven"):
        await tools.packages(upgrade.with_(from_signature=None))


async def test_the_executor_trusts_its_own_keys_and_setting(tmp_path: Path) -> None:
    """A hostile registry says that it is fine; the worker's own settings decide."""
    tools, upgrade = await _world(tmp_path)
    revoked = trusting(key=(LIBRARY_KEY, Validity(purpose="library", revoked_at=NOW, reason="stolen")))
    later = trusting(key=(LIBRARY_KEY, Validity(purpose="library", revoked_at=NOW + DAY, reason="stolen")))
    for trust in (Trust(), replace(TRUST, keys=revoked), replace(TRUST, registry={})):
        with pytest.raises(Failure, match="is not proven"):
            await replace(tools, trust=trust).require_proven(upgrade)
    # Seen by the registry before: it stays good.
    await replace(tools, trust=replace(TRUST, keys=later)).require_proven(upgrade)
    bare = upgrade.with_(to_signature=None)
    await replace(tools, trust=Trust(unsigned=Unsigned(digests=frozenset({DIGEST})))).require_proven(bare)
    with pytest.raises(Failure, match="UPGRADES_ALLOW_UNSIGNED"):
        await replace(tools, trust=Trust(unsigned=Unsigned(digests=frozenset({"0" * 64})))).require_proven(
            bare
        )


async def test_a_project_can_leave_a_base_that_is_not_proven_by_naming_its_digest(tmp_path: Path) -> None:
    """A key that is revoked from before a receipt would else hold every Project at that release for ever."""
    tools, upgrade = await _world(tmp_path)
    stolen = trusting(key=(LIBRARY_KEY, Validity(purpose="library", revoked_at=NOW, reason="stolen")))
    assert upgrade.to_package is not None
    named = frozenset({upgrade.to_package})
    for base in (upgrade, upgrade.with_(from_signature=None)):
        why = "never changes" if base.from_signature is None else "does not count any more"
        with pytest.raises(Failure, match=r"1\.2\.4 is not proven") as refused:
            await replace(tools, trust=replace(TRUST, keys=stolen)).packages(base)
        [finding] = refused.value.outcome.findings
        assert why in finding.cure
        assert f"name package {upgrade.from_package} in UPGRADES_ALLOW_UNSIGNED" in finding.cure
        assert "have" not in finding.cure, "nobody can sign what is published"
    # All of them, as in a local world, allows what has no signature; one that does not count is a finding.
    with pytest.raises(Failure, match=r"1\.2\.4 is not proven"):
        await replace(tools, trust=Trust(stolen, TRUST.registry, Unsigned(all=True))).packages(upgrade)
    allowed = replace(tools, trust=Trust(LIBRARY_KEYS, TRUST.registry, Unsigned(digests=named)))
    # Its envelope may be lost, too: whoever names a digest needs none.
    gone = ReleaseSignature(envelope="0" * 64, kid="lost", signed_at=NOW, receipt="1" * 64)
    for base in (upgrade.with_(from_signature=None), upgrade.with_(from_signature=gone)):
        # It comes to be read, which these bytes are not made for.
        with pytest.raises(Failure, match="cannot be read"):
            await allowed.packages(base)
    # The new one is not excused by that: its signature has to count.
    with pytest.raises(Failure, match=r"1\.3\.0 is not proven") as refused:
        await replace(allowed, trust=replace(allowed.trust, keys=stolen)).packages(upgrade)
    assert "publish a higher" in refused.value.outcome.findings[0].cure


async def test_receipts_of_a_former_key_of_the_registry_stay_good_for_their_time() -> None:
    """A registry's key is replaced, and the releases of before can still be used; a later receipt is not."""
    content, former = ContentStore("memory:///"), SigningKey.new("registry#0")
    kept = await content.put(envelope())
    for seen, good in ((NOW, True), (NOW + 2 * DAY, False)):
        receipt = sign_receipt(NAMED, envelope(), LIBRARY_KEY.kid, seen, former)
        signature = ReleaseSignature(
            envelope=kept, kid=LIBRARY_KEY.kid, signed_at=NOW, receipt=await content.put(receipt)
        )
        library = trusting(
            library=(LIBRARY_KEY, Validity(purpose="library")),
            former=(former, Validity(purpose="receipt", not_after=NOW + DAY)),
        )
        trust = Trust(library, TRUST.registry)
        if good:
            await trust.require(NAMED, signature, content)
        else:
            with pytest.raises(Unproven, match="good only until"):
                await trust.require(NAMED, signature, content)


def test_a_proof_of_a_message_is_no_signature_and_the_other_way_round() -> None:
    """One key, two uses: what one signs is never what the other does."""
    signer = Signer("registry", KEYS["registry"])
    [(_, proof)] = [
        (name, value)
        for name, value in signer.signed(
            "upgrades.release.events.v1", b"{}", [("ce_type", b"upgrades.ReleasePublished.v1")]
        )
        if name == "ce_proof"
    ]
    assert proof is not None
    text = proof.decode().rpartition(":")[2]
    stolen = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    good = sign_receipt(NAMED, envelope(), LIBRARY_KEY.kid, NOW, KEYS["registry"])
    verify_receipt(good, envelope(), NAMED, TRUST.registry, LIBRARY_KEYS)
    forged = Envelope(Envelope.read(good).payload, (("registry", stolen),)).json()
    with pytest.raises(Unproven):
        verify_receipt(forged, envelope(), NAMED, TRUST.registry, LIBRARY_KEYS)
