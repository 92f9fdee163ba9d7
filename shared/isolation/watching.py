"""How the launcher waits where it has to see more than the end of its command.

It lies beside the launcher and is loaded by it alone, so it imports as little. In a container it sees the end
of the worker, and what the control group has counted. Where no control group counts, it sums up the memory of
all processes and ends them when they have more than they may. It looks a few times a second, and a program
that is made for it can hide memory from it.
"""

import os
import select
import signal

_LOOKS_EVERY_MS = (100, 250)
"""In a namespace of its own, and where all processes of the machine are in sight."""
_CPU_LOOKS_EVERY_MS = 500
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_MEMORY_EVENTS = ("memory.events", "memory/memory.oom_control")
_PROCESS_EVENTS = ("pids.events", "pids/pids.events")
_NOBODY_ATTACHED = "0"


def wait(
    child: int, control: int, most_bytes: int, most_cpu_s: int, supervisor: bool
) -> tuple[int, int, int, int]:
    """Until the child ends: its exit code, how often something was ended for memory, or refused to start.

    The last is the CPU time in ms for which everything was ended, 0 where it was not: the kernel adds what a
    process has used to its parent's count only where the parent has waited for it.

    When `control` (none: -1) says anything or ends, everything here does, as this is its first process.
    `most_bytes` and `most_cpu_s` of 0 are not watched. A `supervisor` sees processes of others too.
    """
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing)
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    if control >= 0:
        poll.register(control, select.POLLIN | select.POLLHUP)
    kills = cpu_ms = 0
    pause_ms = _LOOKS_EVERY_MS[supervisor] if most_bytes else _CPU_LOOKS_EVERY_MS if most_cpu_s else None
    # The child may have ended before we listened for it.
    while (ended := _ended(child)) is None:
        ready = [descriptor for descriptor, _ in poll.poll(pause_ms)]
        if control in ready:
            os._exit(1)
        if reading in ready:
            os.read(reading, 512)
        # Twice, as a share grows when another process ends while we read.
        if most_bytes and all(_has_more(most_bytes, supervisor) for _ in range(2)):
            kills += 1
            _kill_all(supervisor)
        elif most_cpu_s and _cpu_s(supervisor) >= most_cpu_s:
            cpu_ms = most_cpu_s * 1000
            _kill_all(supervisor)
    if os.getpid() == 1:
        # A container's first process: the group that it sees is the container's.
        return ended, kills + _counted(_MEMORY_EVENTS, "oom_kill"), _counted(_PROCESS_EVENTS, "max"), cpu_ms
    return ended, kills, 0, cpu_ms


def _counted(files: tuple[str, ...], name: str) -> int:
    """An event's count in a control group of either version."""
    found = [0]
    for file in files:
        words = _read(f"/sys/fs/cgroup/{file}").split()
        if name in words:
            found.append(int(words[words.index(name) + 1]))
    return max(found)


def _ended(child: int) -> int | None:
    """The child's exit code if it has ended; orphans that came to us are waited for on the way."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status)
        if pid == 0:
            return None


def _members(supervisor: bool) -> list[int]:
    """Everybody else in our namespace, or whoever descends from us."""
    ours = os.getpid()
    everybody = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    if not supervisor:
        return [pid for pid in everybody if pid not in (1, ours)]
    children: dict[int, list[int]] = {}
    for pid in everybody:
        # The program's name stands in brackets, and may hold anything.
        words = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if words:
            children.setdefault(int(words[1]), []).append(pid)
    found, left = [], [ours]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def _cpu_s(supervisor: bool) -> float:
    """Seconds that all have used, with their children that have ended and been waited for."""
    ticks = 0
    for pid in _members(supervisor):
        words = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        ticks += sum(map(int, words[11:15]))
    waited = os.times()
    return ticks / os.sysconf("SC_CLK_TCK") + waited.children_user + waited.children_system


def _kill_all(supervisor: bool) -> None:
    for pid in _members(supervisor):
        _kill(pid)


def _has_more(most_bytes: int, supervisor: bool) -> bool:
    """Whether all together have more memory: what processes share counts once where that is the question."""
    members = _members(supervisor)
    total = sum(map(_resident, members))
    if total > most_bytes:
        total = sum(map(_share, members))
    return total + (0 if supervisor else _left_in_segments()) > most_bytes


def _resident(pid: int) -> int:
    """All memory that a process has, shared or not; none once it has ended."""
    words = _read(f"/proc/{pid}/statm").split() or ["0", "0"]
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE")


def _share(pid: int) -> int:
    """A process' share of the memory that it has; all of it where the kernel does not say."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    # As it is now: one that has ended meanwhile has left the rest to those that it shared it with.
    return _resident(pid)


def _left_in_segments() -> int:
    """System V's shared memory that no process has attached: it is nobody's, and it stays."""
    lines = [line.split() for line in _read("/proc/sysvipc/shm").splitlines()]
    if not lines:
        return 0
    attached, resident = lines[0].index("nattch"), lines[0].index("rss")
    return sum(int(line[resident]) for line in lines[1:] if line[attached] == _NOBODY_ATTACHED)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # it has ended, or has another user's rights


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def refuse(program: bytes) -> None:
    """The kernel's filter of system calls, which what is started inherits; in force once we return."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    held = ctypes.create_string_buffer(program, len(program))
    # A `struct sock_fprog`: how many steps of eight bytes, and where.
    steps = (ctypes.c_uint64 * 2)(len(program) // 8, ctypes.addressof(held))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or libc.prctl(_PR_SET_SECCOMP, 2, steps) != 0:
        raise OSError(ctypes.get_errno(), "the filter of system calls cannot be set")
