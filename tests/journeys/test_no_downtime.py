"""Customers read and write production all the while: no request fails, whatever is deployed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.journeys.conftest import Portals
from tests.support.portal import Portal
from tests.support.system import Embedded

CUSTOMERS = 3
PASSWORD = "acme-demo-2026"
# A person notices more than this; measured on a busy machine it was a tenth of it.
LONGEST_WAIT_MS = 3000
_PAUSE_S = 0.02


class Customers:
    """People with a browser each, who sign in, ask for quotes and read them, until told to stop."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._enough = asyncio.Event()
        self.failures: list[str] = []
        self.answered: Counter[str] = Counter()
        """Requests that were answered as they should be, by the commit that was live for that customer."""
        self.quotes = 0
        self.longest_ms = 0.0
        self.longest = ""

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Customers]:
        async with asyncio.TaskGroup() as group:
            for number in range(CUSTOMERS):
                group.create_task(self._customer(number))
            try:
                yield self
            finally:
                self._enough.set()

    async def served_by(self, commit: str, rounds: int = 3) -> None:
        """Returns when this commit has answered that many rounds more."""
        wanted = self.answered[commit] + rounds
        while self.answered[commit] < wanted:
            assert self.failures == []
            await asyncio.sleep(_PAUSE_S)

    async def _customer(self, number: int) -> None:
        address = self._portal.example.address
        assert address is not None
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as browser:
            while not self._enough.is_set():
                await self._round(browser, number)
                await asyncio.sleep(_PAUSE_S)

    async def _round(self, browser: httpx.AsyncClient, number: int) -> None:
        person = {"email": "demo@acme.example", "password": PASSWORD}
        await self._ask(browser, "POST", "/signin", 303, person)
        await self._ask(browser, "GET", "/signed-in", 200)
        order = {"product": "chair", "quantity": str(number + 1)}
        if await self._ask(browser, "POST", "/quotes", 303, order):
            self.quotes += 1
        await self._ask(browser, "GET", "/quotes", 200)
        await self._ask(browser, "GET", "/health", 200)
        answer = await self._ask(browser, "GET", "/version", 200)
        if answer is not None:
            self.answered[answer.json()["commit"]] += 1

    async def _ask(
        self,
        browser: httpx.AsyncClient,
        method: str,
        path: str,
        status: int,
        form: dict[str, str] | None = None,
    ) -> httpx.Response | None:
        began = time.monotonic()
        try:
            answer = await browser.request(method, path, data=form)
        except httpx.HTTPError as error:
            self.failures.append(f"{method} {path}: {error!r}")
            return None
        waited_ms = (time.monotonic() - began) * 1000
        if waited_ms > self.longest_ms:
            self.longest_ms, self.longest = waited_ms, f"{method} {path}"
        if answer.status_code != status:
            self.failures.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer


async def test_nobody_notices_a_deploy_or_a_roll_back(embedded: Embedded, portals: Portals) -> None:
    portal = await portals.open(embedded, "ferry")
    mira = portal.mira
    planned = await mira.plan("auth-system")
    await mira.start(planned)
    proven = await mira.proven(planned.id)

    written = "select count(*) from quotes"
    before = await portal.ask(written)
    old = portal.head()
    async with Customers(portal).at_work() as customers:
        await customers.served_by(old)
        deployed = await mira.approve(proven)
        assert deployed.status == "succeeded"
        await customers.served_by(portal.head())

        undone = await mira.roll_back(planned.id)
        assert undone.status == "rolled-back"
        assert portal.head() not in (old, deployed.deployed_commit)
        await customers.served_by(portal.head())
    assert customers.failures == []
    assert set(customers.answered) == {old, deployed.deployed_commit, portal.head()}
    assert await portal.ask(written) == before + customers.quotes
    print(
        f"longest wait {customers.longest_ms:.0f} ms ({customers.longest}),"
        f" {sum(customers.answered.values())} rounds of 6 requests"
    )
    assert customers.longest_ms < LONGEST_WAIT_MS
