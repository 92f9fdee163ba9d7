"""The gate's first question to a package: who signed it. The answer is kept with a receipt of our own."""

from datetime import datetime

from services.registry.answers import SigningAnswer
from shared.clients.content import ContentStore
from shared.contracts.refusals import Refusal
from shared.contracts.releases import PublishRelease, ReleaseSignature
from shared.errors import Reject, invalid
from shared.identity.keys import SigningKey
from shared.signing.envelope import Unproven
from shared.signing.releases import Named, sign_receipt, verify_release
from shared.signing.trust import ALLOW_UNSIGNED, LIBRARY_KEYS, TRUSTS_NOBODY, Trust, small_content


class SignatureCheck:
    """Verifies a package's signature, and writes down when it was seen."""

    def __init__(
        self, content: ContentStore, trust: Trust = TRUSTS_NOBODY, own_key: SigningKey | None = None
    ) -> None:
        """`own_key` is the registry's, for receipts; without one only unsigned packages can be taken."""
        self._content = content
        self._trust = trust
        self._own_key = own_key

    async def verified(self, command: PublishRelease, now: datetime) -> ReleaseSignature | None:
        """The signature of the package; None for one that may be unsigned. Raises `Reject`, `Retry`."""
        named = Named(command.system, command.version, command.package)
        try:
            if command.signature is None:
                self._trust.require_unsigned(named)
                return None
            return await self._signed(named, command.signature, now)
        except Unproven as error:
            raise _refused(command, error) from error

    def foreseen(
        self, command: PublishRelease, envelope: bytes | None, now: datetime
    ) -> tuple[SigningAnswer, Refusal | None]:
        """The answer that `verified` would come to; a refusal for an envelope that proves nothing."""
        named = Named(command.system, command.version, command.package)
        try:
            if envelope is None:
                self._trust.require_unsigned(named)
                said = (
                    f"it may be published unsigned, as {ALLOW_UNSIGNED} allows it, and is marked everywhere"
                )
                return SigningAnswer(found="unsigned", accepted=True, said=said), None
            signed = verify_release(envelope, named, self._trust.library, now)
        except Unproven as error:
            if envelope is None:
                said = f"it has to be signed before it is published: {ALLOW_UNSIGNED} does not allow it"
                return SigningAnswer(found="unsigned", accepted=False, said=said), None
            [refusal] = _refused(command.with_(signature="0" * 64), error).refusals
            refusal = refusal.model_copy(update={"value": None})
            return SigningAnswer(found="not proven", accepted=False, said=str(error)), refusal
        said = f"its signature is good: by {signed.kid}, built by {signed.builder}"
        return SigningAnswer(found="signed", accepted=True, said=said), None

    async def _signed(self, named: Named, digest: str, now: datetime) -> ReleaseSignature:
        envelope = await small_content(self._content, digest)
        signed = verify_release(envelope, named, self._trust.library, now)
        if self._own_key is None:
            raise Unproven("this registry has no key of its own, and can give no receipt")
        receipt = sign_receipt(named, envelope, signed.kid, now, self._own_key)
        return ReleaseSignature(
            envelope=digest,
            kid=signed.kid,
            signed_at=signed.signed_at,
            receipt=await self._content.put(receipt),
        )


def _refused(command: PublishRelease, error: Unproven) -> Reject:
    name = f"{command.system} {command.version}"
    if command.signature is None:
        return invalid(
            f"{name} is not signed by the Systems Library",
            field="signature",
            cure="sign it: upgradepath release publish PACKAGE --key FILE; or let the SRE allow this package"
            f" in {ALLOW_UNSIGNED}",
        )
    return invalid(
        f"the signature does not prove {name}: {error}",
        field="signature",
        value=command.signature,
        cure=f"sign this package with a key that {LIBRARY_KEYS} has: upgradepath release sign, and look at it"
        " with upgradepath release verify",
    )
