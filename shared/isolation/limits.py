"""How much a command of a Project may use, and the words for what used more."""

import math
import resource
import signal
from collections.abc import Mapping

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_MIB = 1 << 20
_RESERVED_FACTOR = 8


class Limits(BaseSettings):
    """Of one command and everything that it starts; `UPGRADES_RUNNER_MEMORY_MIB` and so on."""

    model_config = SettingsConfigDict(env_prefix="UPGRADES_RUNNER_", frozen=True, extra="ignore")

    memory_mib: int = Field(default=2048, ge=64, description="of all processes where there is a cgroup")
    disk_mib: int = Field(default=1024, ge=16, description="of checkout, home and /tmp together")
    processes: int = Field(default=512, ge=8)
    open_files: int = Field(default=4096, ge=64)
    cpu_s: int = Field(default=3600, ge=1, description="of all processes together")
    printed_mib: int = Field(default=64, ge=1, description="to standard output and error")

    @property
    def memory_bytes(self) -> int:
        return self.memory_mib * _MIB

    @property
    def disk_bytes(self) -> int:
        return self.disk_mib * _MIB

    @property
    def printed_bytes(self) -> int:
        return self.printed_mib * _MIB

    def rlimits(self, *, counted: bool = False, processes: int | None = None) -> list[tuple[int, int, int]]:
        """Resource, soft and hard limit, as `setrlimit` takes them.

        `counted`: a cgroup counts the memory that is used, so that programs may reserve more than that.
        """
        reserved = self.memory_bytes * (_RESERVED_FACTOR if counted else 1)
        cpu = (resource.RLIMIT_CPU, self.cpu_s, self.cpu_s + 5)
        return [
            cpu,
            *(
                (kind, most, most)
                for kind, most in {
                    resource.RLIMIT_AS: reserved,
                    resource.RLIMIT_FSIZE: self.disk_bytes,
                    resource.RLIMIT_NPROC: processes or self.processes,
                    resource.RLIMIT_NOFILE: self.open_files,
                    resource.RLIMIT_CORE: 0,
                    resource.RLIMIT_MEMLOCK: 8 * _MIB,
                    resource.RLIMIT_MSGQUEUE: _MIB,
                }.items()
            ),
        ]


def size(count: int) -> str:
    """Bytes as people say them: `2 GiB`."""
    for unit, name in ((1 << 30, "GiB"), (_MIB, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{math.floor(count / unit * 10) / 10:g} {name}"
    return f"{count} bytes"


def exceeded_by(limits: Limits, exit_code: int, seen: Mapping[str, int]) -> str | None:
    """The limit that ended a command, in words that follow its name; none when it was none of them.

    `seen` is what was counted: `disk_full`, `cpu_ms`, `memory_peak`, `memory_kills`, `process_refusals`,
    `cpu_ended`.
    """
    if seen.get("cpu_ended"):
        # Whoever was asked to end may say that it ended well.
        return f"used more than {limits.cpu_s} s of CPU time"
    if exit_code == 0:
        return None
    if seen.get("memory_kills"):
        return f"used more than {size(limits.memory_bytes)} of memory"
    if exit_code == -signal.SIGXCPU or seen.get("cpu_ms", 0) >= limits.cpu_s * 1000:
        return f"used more than {limits.cpu_s} s of CPU time"
    if seen.get("disk_full"):
        return f"wrote more than {size(limits.disk_bytes)}"
    if seen.get("process_refusals"):
        return f"started more than {limits.processes} processes"
    # A program that is refused memory ends by itself, just below the limit.
    if seen.get("memory_peak", 0) > limits.memory_bytes * 3 // 4:
        return f"asked for more than {size(limits.memory_bytes)} of memory"
    return None
