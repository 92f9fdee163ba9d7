"""A background task ends when it is told to, also when something swallows a cancellation."""

import asyncio
import logging

import pytest

from shared import background


async def test_a_swallowed_cancellation_is_followed_by_another() -> None:
    swallowed = asyncio.Event()
    forever = asyncio.Event()

    async def stubborn() -> None:
        try:
            await forever.wait()
        except asyncio.CancelledError:
            swallowed.set()
        await forever.wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await background.end(task)
    assert swallowed.is_set()
    assert task.cancelled()


async def test_a_task_that_broke_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks() -> None:
        raise ValueError("nobody looked")

    task = asyncio.create_task(breaks(), name="the relay")
    await asyncio.wait({task})
    with caplog.at_level(logging.ERROR):
        await background.end(task)
    assert "the relay had broken" in caplog.text
    await background.end(None)
