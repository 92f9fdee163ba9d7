"""A package that takes long, in a trial or while it is read, keeps nobody else's from its verdict."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from sqlalchemy import text

from services.registry.proving import Trial
from shared.contracts.releases import PublishRelease
from shared.contracts.values import Actor
from tests.registry.registry_world import LENA, Files, Registry, files, pack, running, token

SECOND = {"prisma/migrations/20250601000000_second/migration.sql": "alter table users add column b int;"}
LATE = {"prisma/migrations/20250301000000_late/migration.sql": "alter table users add column a int;"}
LARS = Actor(id="lars@library.example", role="library")
_INIT = "prisma/migrations/20250101000000_init/migration.sql"


def plain(name: str) -> dict[str, str]:
    """A package of which nothing is tried."""
    return files("1.0.0", name=name, changed={"prisma/schema.prisma": None, _INIT: None})


def modelled(name: str, model: str, more: str = "") -> dict[str, str]:
    return files(
        "1.0.0",
        name=name,
        changed={"prisma/schema.prisma": f"model {model} {{\n  id Int @id\n}}\n{more}", _INIT: None},
    )


async def asked(world: Registry, contents: Files, system: str, who: Actor = LENA) -> str:
    """The key of a command that is queued."""
    digest = await world.content.put(pack(contents))
    command = PublishRelease(actor=who, system=system, version="1.0.0", package=digest)
    await world.ask(command, f"publish-{system}")
    return f"publish-{system}"


async def published(world: Registry, key: str, who: Actor = LENA) -> bool:
    verdict = await world.gate.verdict(f"/http/{who.id}", key, 10)
    return verdict is not None and not verdict.refusals


async def test_ones_slow_trials_stop_no_other_package(registry_url: str) -> None:
    """Catches trials that are made where packages are checked: two of them stopped everything."""
    begun, over = asyncio.Event(), asyncio.Event()
    at_once: list[int] = []

    async def slow(*_: Sequence[tuple[str, str]] | Mapping[str, str]) -> Trial:
        at_once.append(1)
        begun.set()
        await over.wait()
        return "made", ""

    async with running(registry_url, trial_of=slow) as world:
        await world.gate.start()
        slow_ones = [
            await asked(world, modelled(f"slow-{each}", f"Slow{each}"), f"slow-{each}") for each in "abc"
        ]
        await begun.wait()
        assert await published(world, await asked(world, plain("quick"), "quick"))
        key = await asked(world, plain("other"), "other", LARS)
        assert await published(world, key, LARS)
        assert at_once == [1], "one actor has one trial at a time"
        over.set()
        assert [await published(world, key) for key in slow_ones] == [True] * 3


async def test_one_package_that_is_read_for_long_stops_no_other(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a verdict that is found under the gate's lock: it reads what others have published."""
    await registry.publish()
    reading, go_on = asyncio.Event(), asyncio.Event()
    get = registry.content.get
    auth = (await registry.http.get("/releases?system=auth-system", headers=token(LENA))).json()[0]["package"]

    async def slowly(digest: str) -> bytes:
        if digest == auth:
            reading.set()
            await go_on.wait()
        return await get(digest)

    monkeypatch.setattr(registry.content, "get", slowly)
    await registry.gate.start()
    extends = "/// @extends auth-system\nmodel User {\n  mails Int?\n}\n"
    slow = await asked(registry, modelled("mail-system", "Mail", extends), "mail-system")
    await reading.wait()
    assert await published(registry, await asked(registry, plain("quick"), "quick"))
    go_on.set()
    # The Library has moved meanwhile, so it is judged again.
    assert await published(registry, slow)


async def test_orders_are_tried_once_although_a_proof_follows(registry_url: str) -> None:
    """Catches an answer that is forgotten before the verdict that it is for."""
    tried: list[str] = []

    async def orders(_: Sequence[Sequence[tuple[str, str]]]) -> None:
        tried.append("orders")

    async def fragment(*_: Sequence[tuple[str, str]] | Mapping[str, str]) -> Trial:
        tried.append("fragment")
        return "made", ""

    async with running(registry_url, orders, fragment) as world:
        await world.publish()
        await world.publish(files("1.3.0", earlier=("1.2.4",), changed=SECOND))
        tried.clear()
        await world.publish(files("1.4.0", earlier=("1.3.0", "1.2.4"), changed=SECOND | LATE))
    assert tried == ["orders", "fragment"]


async def test_only_while_a_package_is_read_may_a_transaction_say_nothing(registry: Registry) -> None:
    """Catches a session that the server ends after 10 s, because a package is large or waits for its turn."""
    show = text("show idle_in_transaction_session_timeout")
    async with registry.database.transaction() as tx:
        for for_s, shown in ((600, "10min"), (None, "10s")):
            await tx.wait_idle(for_s)
            assert (await tx.session.execute(show)).scalar_one() == shown
