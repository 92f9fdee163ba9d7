"""Signed packages through the registry: by topic and over HTTP, once and again."""

from collections.abc import AsyncIterator

import pytest

from shared.contracts.refusals import CommandRefused
from shared.contracts.releases import PublishRelease, ReleasePublished
from shared.errors import Reject
from tests.registry.registry_world import LENA, Registry, files, pack, running
from tests.support.signing import LIBRARY_KEY, TRUST, signed


@pytest.fixture
async def strict(registry_url: str) -> AsyncIterator[Registry]:
    """A registry that takes signed packages alone."""
    async with running(registry_url, trust=TRUST) as world:
        yield world


async def command(registry: Registry, version: str = "1.2.4", *, sign: bool = True) -> PublishRelease:
    package = await registry.content.put(pack(files(version)))
    letter = await registry.content.put(signed("auth-system", version, package)) if sign else None
    return PublishRelease(
        actor=LENA, system="auth-system", version=version, package=package, signature=letter
    )


async def test_a_release_says_who_signed_it_and_nobody_takes_that_away(strict: Registry) -> None:
    """The same bytes without a signature, or with another one, change nothing."""
    good = await command(strict)
    event = await strict.verdict(good)
    signature = event.release.signature
    assert signature is not None
    assert (signature.envelope, signature.kid) == (good.signature, LIBRARY_KEY.kid)
    assert await strict.verdict(good.with_(signature=None)) == event
    assert await strict.verdict(good.with_(signature="0" * 64)) == event
    assert len(await strict.sent()) == 1


async def test_unsigned_packages_are_refused_on_the_topic_as_over_http(strict: Registry) -> None:
    unsigned = await command(strict, sign=False)
    swapped = unsigned.with_(signature=(await command(strict, "1.2.5")).signature)
    for number, wrong in enumerate((unsigned, swapped)):
        with pytest.raises(Reject) as over_http:
            await strict.verdict(wrong)
        await strict.sent()
        await strict.hear(wrong, f"unsigned-{number}")
        await strict.check_all()
        [refused] = await strict.sent()
        assert isinstance(refused, CommandRefused)
        assert refused.refusals == over_http.value.refusals
        assert [refusal.field for refusal in refused.refusals] == ["signature"]
    async with strict.database.transaction() as tx:
        assert await tx.release_row("auth-system", "1.2.4") is None


async def test_an_unsigned_release_is_not_made_a_signed_one(registry: Registry) -> None:
    """Where unsigned packages are allowed they are marked so, for ever."""
    event = ReleasePublished.model_validate(await registry.verdict(await command(registry, sign=False)))
    assert event.release.signature is None
    with pytest.raises(Reject, match="published without a signature"):
        await registry.verdict(await command(registry))
