"""Apache Kafka keeps what it acknowledged, also when it is killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local.kafka import ApacheKafka, availability
from local.process import CannotStart
from tests.local.numbered_records import Records

_WHY_NOT = availability()
# On the build server its absence is a failure, told by CannotStart, and never a skip.
_needs_kafka = pytest.mark.skipif(
    _WHY_NOT is not None and os.environ.get("CI") != "true", reason=f"Apache Kafka: {_WHY_NOT}"
)


@_needs_kafka
async def test_acknowledged_records_outlive_a_kill(tmp_path: Path) -> None:
    async with ApacheKafka(tmp_path) as kafka:
        records = Records(kafka.bootstrap_servers, "numbers")
        await records.make_topic()
        await records.send(range(20), idempotent=True)
        await kafka.kill()
        await kafka.start()
        await records.send(range(20, 25), idempotent=True)
        assert await records.read(25) == list(range(25))


async def test_without_java_the_cure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "install Java 17" in str(availability())
    with pytest.raises(CannotStart, match="install Java 17"):
        await ApacheKafka(tmp_path / "kafka").start()


def test_without_mvn_only_cached_jars_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"21.0.1\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("UPGRADES_CACHE", str(tmp_path / "cache"))
    assert "install Apache Maven" in str(availability())
    (tmp_path / "cache" / "kafka-4.4.0" / "lib").mkdir(parents=True)
    assert availability() is None
