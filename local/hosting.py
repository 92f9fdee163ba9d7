"""The partners' hosting in a world: a program of its own, as a hosting is, that runs their apps."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from local.process import CannotStart, Child
from local.world import HOST, World

_PROGRAM = Path(__file__).resolve().parents[1] / "examples" / "hosting" / "server.py"
_EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "project" / "hosting"
COMMANDS = ("activate", "observe", "health", "destroy", "logs")
_READY_WITHIN_S = 20.0
_POLL_S = 0.02


class Hosting:
    """The hosting's program; the apps that it started live on when it ends, and it finds them again."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._child: Child | None = None

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended by itself."""
        return self._child is not None and self._child.running

    async def start(self) -> None:
        """Returns when it answers. Raises CannotStart when it does not."""
        world = self._world
        self._child = await asyncio.to_thread(
            Child,
            [sys.executable, str(_PROGRAM), str(world.folder), str(world.hosting_port)],
            log=world.folder / "hosting.log",
            cwd=world.folder,
            env={"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
        )
        try:
            await _until_ready(self._child, world.hosting_port)
        except BaseException:
            await self.stop()
            raise

    async def ask(self) -> None:
        """Returns once it has answered. Raises httpx's TransportError when it does not."""
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"http://{HOST}:{self._world.hosting_port}/")

    async def stop(self) -> None:
        """Ends it. Safe to repeat."""
        if self._child is not None:
            await asyncio.to_thread(self._child.stop, signal.SIGTERM, patience_s=2)
            self._child = None


@asynccontextmanager
async def hosting(world: World) -> AsyncIterator[Hosting]:
    """Run the hosting until the block ends. Raises CannotStart when it does not answer."""
    program = Hosting(world)
    await program.start()
    try:
        yield program
    finally:
        await program.stop()


def open_account(world: World, partner: str) -> str:
    """Let a partner use the hosting; the URL, with its key, that its environments' commands ask."""
    file = world.folder / partner / "hosting" / "key"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(16))
    return f"http://{partner}:{file.read_text()}@{HOST}:{world.hosting_port}"


def has_account(world: World, partner: str) -> bool:
    """Whether this partner's folder is a hosting's, or free to become one."""
    home = world.folder / partner
    return not home.exists() or (home / "hosting").is_dir()


def commands_for_checkout() -> dict[str, str]:
    """The programs by which a Project's environments ask the hosting, by their path in its repository."""
    found = {"hosting/provider.py": (_EXAMPLE / "provider.py").read_text()}
    for name in COMMANDS:
        found[f"hosting/{name}"] = "#!/usr/bin/env python3\n" + (_EXAMPLE / f"{name}.py").read_text()
    return found


async def _until_ready(child: Child, port: int) -> None:
    end = time.monotonic() + _READY_WITHIN_S
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{port}", trust_env=False) as client:
        while True:
            try:
                await client.get("/")
            except httpx.TransportError:
                if not child.running or time.monotonic() > end:
                    raise CannotStart(f"the hosting does not answer{child.log_tail()}") from None
                await asyncio.sleep(_POLL_S)
            else:
                return
