"""An identity provider of ours and one that others wrote: from discovery to a role, while keys rotate."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from shared.clock import utc_now
from shared.contracts.values import Actor
from shared.http import problems
from shared.http.tokens import WhoAsks
from shared.identity import issuer_keys
from shared.identity.issuer_keys import KeyRefresher, read_once
from shared.identity.issuers import IssuerFile, IssuerSettings
from shared.identity.tokens import InvalidToken, TokenVerifier
from shared.token_settings import TokenSettings
from tests.support.identity_providers import CLIENT, OurProvider, Provider, TheirProvider

GROUPS = ("staff", "upgradepath-maintainers-acme-portal", "upgradepath-maintainers-harbour")


@pytest.fixture(scope="module")
def theirs() -> Iterator[TheirProvider]:
    with TheirProvider().running() as provider:
        yield provider


@pytest.fixture
def ours() -> Iterator[OurProvider]:
    with OurProvider().running() as provider:
        yield provider


@pytest.fixture(params=["ours", "theirs"])
def provider(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def settings(provider: Provider, name: str = "acme", **changed: Any) -> IssuerSettings:
    document = {
        "name": name,
        "issuer": provider.issuer,
        "audience": [CLIENT],
        "roles": ["maintainer", "sre"],
        "projects": ["acme-*"],
        "rules": [
            {"group": "upgradepath-sre", "role": "sre"},
            {"group": "upgradepath-maintainers-<project>", "role": "maintainer"},
        ],
        **changed,
    }
    [read] = IssuerFile.model_validate({"issuers": [document]}).issuers
    return read


def trusting(*issuers: IssuerSettings) -> TokenVerifier:
    return TokenSettings(token_issuers=issuers, token_public_keys=None).token_verifier()


@contextlib.asynccontextmanager
async def door(tokens: TokenVerifier) -> AsyncIterator[httpx.AsyncClient]:
    """A service's HTTP door, with the background that keeps its keys fresh."""
    app, refresher = FastAPI(), KeyRefresher(tokens.sources)
    app.state.tokens = tokens
    problems.install(app)

    @app.get("/planner/me")
    async def me(who: WhoAsks) -> Actor:
        return who

    await refresher.start()
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://door") as client:
            yield client
    finally:
        await refresher.stop()


async def asked(client: httpx.AsyncClient, token: str) -> Any:
    answer = await client.get("/planner/me", headers={"Authorization": f"Bearer {token}"})
    return answer.json() if answer.status_code == 200 else answer.status_code


async def test_groups_become_a_role_and_projects_over_http(provider: Provider) -> None:
    """Discovery, the key of the token's `kid`, audience and groups, and no Project beyond the issuer's."""
    token = provider.token("mira", *GROUPS)
    async with door(trusting(settings(provider))) as client:
        mira = {"id": "acme:mira", "role": "maintainer", "projects": ["acme-portal"]}
        assert await asked(client, token) == mira
        sam = await asked(client, provider.token("sam", "upgradepath-sre", *GROUPS))
        assert (sam["id"], sam["role"]) == ("acme:sam", "sre")
        assert await asked(client, provider.token("eve", "staff")) == 401


async def test_keys_rotate_while_the_service_runs(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first token by the next key is taken at once, and one by a key that is gone is refused."""
    monkeypatch.setattr(issuer_keys, "AGAIN_AFTER_S", 0.0)
    before = provider.token("mira", *GROUPS)
    async with door(trusting(settings(provider))) as client:
        assert (await asked(client, before))["id"] == "acme:mira"
        provider.rotate()
        assert (await asked(client, provider.token("mira", *GROUPS)))["id"] == "acme:mira"
        assert await asked(client, before) == 401


async def test_two_keys_at_once_refuse_nobody(ours: OurProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "AGAIN_AFTER_S", 0.0)
    before = ours.token("mira", *GROUPS)
    async with door(trusting(settings(ours))) as client:
        ours.rotate(keep=True)
        for token in (before, ours.token("mira", *GROUPS), before):
            assert (await asked(client, token))["id"] == "acme:mira"


@pytest.mark.parametrize(
    ("changed", "because"),
    [
        ({"audience": ["another-app"]}, "another audience"),
        ({"projects": ["harbour-*"]}, "groups"),
        ({"groups": ["realm_access", "roles"]}, "list of groups"),
        ({"clients": ["another-app"]}, "another client"),
        ({"valid_at_most_h": 0.1}, "longer than"),
    ],
    ids=str,
)
async def test_what_its_settings_do_not_allow_proves_nobody(
    provider: Provider, changed: dict[str, Any], because: str
) -> None:
    tokens = trusting(settings(provider, **changed))
    await read_once(tokens.sources)
    with pytest.raises(InvalidToken, match=because):
        tokens.verify(provider.token("mira", *GROUPS))


async def test_a_token_ends(provider: Provider) -> None:
    tokens, token = trusting(settings(provider)), provider.token("mira", *GROUPS)
    await read_once(tokens.sources)
    assert tokens.verify(token).id == "acme:mira"
    with pytest.raises(InvalidToken, match="expired"):
        tokens.verify(token, at=utc_now() + timedelta(hours=2))


async def test_neither_provider_speaks_for_the_other(ours: OurProvider, theirs: TheirProvider) -> None:
    """Both are trusted: a token under the other's name is refused, as is one of a third issuer."""
    tokens = trusting(settings(ours, "acme"), settings(theirs, "harbour", projects=["harbour"]))
    await read_once(tokens.sources)
    assert tokens.verify(theirs.token("mira", *GROUPS)) == Actor(
        id="harbour:mira", role="maintainer", projects=("harbour",)
    )
    assert tokens.verify(ours.token("mira", *GROUPS)).id == "acme:mira"
    for iss in (theirs.issuer, f"{theirs.issuer}/", f"{ours.issuer}/", "https://mal.example"):
        with pytest.raises(InvalidToken, match="trust"):
            tokens.verify(ours.token("mira", *GROUPS, iss=iss))
    only_ours = trusting(settings(ours))
    await read_once(only_ours.sources)
    with pytest.raises(InvalidToken, match="issuer"):
        only_ours.verify(theirs.token("mira", *GROUPS))


async def test_an_issuer_with_another_slash_is_another_one(provider: Provider) -> None:
    """Its discovery document says who it is, to the last character."""
    slashed = provider.issuer.removesuffix("/") if provider.issuer.endswith("/") else f"{provider.issuer}/"
    wrong = settings(provider).model_copy(update={"issuer": slashed})
    tokens = trusting(wrong)
    await read_once(tokens.sources)
    assert "another issuer's" in " ".join(tokens.troubles())
    with pytest.raises(InvalidToken):
        tokens.verify(provider.token("mira", *GROUPS))


async def test_a_provider_that_is_away_keeps_nobody_from_asking(ours: OurProvider) -> None:
    """The door answers 401 in time and says so; nothing waits for the address that does not answer."""
    away = settings(ours).model_copy(update={"issuer": "http://127.0.0.1:9"})
    tokens, begun = trusting(away), time.monotonic()
    async with door(tokens) as client:
        assert await asked(client, ours.token("mira", *GROUPS, iss="http://127.0.0.1:9")) == 401
    assert time.monotonic() - begun < 10
    assert "there are no keys of acme" in " ".join(tokens.troubles())
