"""Apache Kafka itself, one node on this machine, without a container."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from local.kafka_jars import availability, java_program, kafka_jars
from local.kafka_ready import until_ready
from local.ports import free_port, require_free
from local.process import CannotStart, Child

__all__ = ["ApacheKafka", "availability"]

_FORMAT_WITHIN_S = 60.0
_READY_WITHIN_S = 60.0
_STOP_PATIENCE_S = 15.0

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=2097152
# A killed broker is let in again once its old session ends: 3.6 s with this, 12.6 s with the default.
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=1500
group.min.session.timeout.ms=1000
"""

_LOGGING = """\
Configuration:
  status: warn
  Appenders:
    Console:
      name: out
      PatternLayout:
        pattern: "%d{ISO8601} %p %c{1}: %m%n"
  Loggers:
    Root:
      level: info
      AppenderRef:
        ref: out
"""


_formatted: dict[tuple[str, ...], dict[Path, bytes]] = {}
"""By the options of the format: what it leaves in the data folder, which knows neither port nor place."""


class ApacheKafka:
    """Apache Kafka over `folder`, which is made when missing and kept when it stops.

        async with ApacheKafka(folder) as kafka:
            AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, enable_idempotence=True)

    Topics are made by asking for them, never by using them. The folder holds data/, kafka.log and the
    settings. The port stays the same over `stop`, `kill` and `start`.
    Raises CannotStart with the reason of `availability()`, or the end of the log.
    """

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder.resolve()
        self.port = port if port is not None else free_port()
        self._controller_port = free_port()
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        """The server's process. Only while it runs."""
        assert self._child is not None, "it does not run"
        return self._child.pid

    @property
    def bootstrap_servers(self) -> str:
        """`127.0.0.1:port`, as Kafka clients take it."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Returns when topics can be made and records sent. Must not be running."""
        assert self._child is None, "Kafka runs already"
        jars = await asyncio.to_thread(_available_jars)
        data = self._write_settings()
        if not (data / "meta.properties").exists():
            await self._format(jars)
        require_free(self.port)
        self._child = self._java(jars, "kafka.Kafka", "server.properties")
        try:
            await until_ready(self._child, self._client(), _READY_WITHIN_S)
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """Lets Kafka finish what it does, and returns when it is gone. Safe to repeat."""
        if self._child is not None:
            await asyncio.to_thread(self._child.stop, signal.SIGTERM, patience_s=_STOP_PATIENCE_S)
            self._child = None

    async def kill(self) -> None:
        """The crash that fault tests need: gone at once; `start` goes on from what is on disk."""
        if self._child is not None:
            await asyncio.to_thread(self._child.kill)
            self._child = None

    def _properties(self, data: Path) -> str:
        """The server's settings: plaintext, for whoever is on this machine."""
        return _PROPERTIES.format(port=self.port, controller_port=self._controller_port, data=data)

    def _format_options(self) -> list[str]:
        """What else the storage is to begin with."""
        return []

    def _java_options(self) -> list[str]:
        """What else the server's JVM is told."""
        return []

    def _client(self) -> dict[str, Any]:
        """The arguments of a client of aiokafka that may ask whether the server is ready."""
        return {"bootstrap_servers": self.bootstrap_servers}

    def _write_settings(self) -> Path:
        data = self.folder / "data"
        # The JVM unpacks native libraries there, and a killed one leaves them.
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        (self.folder / "log4j2.yaml").write_text(_LOGGING)
        (self.folder / "server.properties").write_text(self._properties(data))
        return data

    async def _format(self, jars: Path) -> None:
        """A server of this process that begins as an earlier one did gets the same files, without a JVM."""
        data, begins_with = self.folder / "data", tuple(self._format_options())
        if begins_with not in _formatted:
            await self._run_format(jars)
            _formatted[begins_with] = _files_in(data)
        for path, content in _formatted[begins_with].items():
            (data / path).parent.mkdir(parents=True, exist_ok=True)
            (data / path).write_bytes(content)

    async def _run_format(self, jars: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # Joined by "=", or a leading dash in it would be taken for an option.
        options = [f"--cluster-id={cluster}", "--config=server.properties", *self._format_options()]
        child = self._java(jars, "kafka.tools.StorageTool", "format", *options)
        try:
            code = await asyncio.to_thread(child.wait, _FORMAT_WITHIN_S)
        except BaseException:
            child.kill()
            raise
        if code != 0:
            raise CannotStart(f"Kafka's storage could not be formatted{child.log_tail()}")

    def _java(self, jars: Path, main: str, *arguments: str) -> Child:
        java = java_program()
        assert java is not None, "availability() found it a moment ago"
        small = ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
        places = [f"-Djava.io.tmpdir={self.folder / 'tmp'}", "-Dlog4j2.configurationFile=log4j2.yaml"]
        return Child(
            [java, *small, *places, *self._java_options(), "-cp", f"{jars}/*", main, *arguments],
            log=self.folder / "kafka.log",
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
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


def _files_in(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _available_jars() -> Path:
    if reason := availability():
        raise CannotStart(f"Apache Kafka cannot run here: {reason}")
    return kafka_jars()
