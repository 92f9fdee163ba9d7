"""Every OpenAPI document under attack with a maintainer's token: no server error, no undocumented answer."""

from __future__ import annotations

import asyncio

import pytest

from local.world import ACTORS
from shared.contracts.topics import SERVICES
from tests.security.documents_attacked import attack
from tests.support.system import Embedded


@pytest.mark.parametrize("service", SERVICES)
async def test_the_document_is_kept_under_attack(embedded: Embedded, service: str) -> None:
    """Catches a value, a method or a body that ends in a 500, or in an answer that nobody has described."""
    token = embedded.token(ACTORS["maintainer"])
    code, said = await asyncio.to_thread(attack, embedded.url, token, service, examples=3, seed=1)
    assert code == 0, said[-8000:]
