"""The launcher: the first program of ours in a command's isolation, and its supervisor until it ends.

Run as `python -I -S inside.py FD`, where FD holds the order in marshal's format, or with the path of a socket
from which that and the two other descriptors come. It imports nothing that is written in Python but `os`:
whoever starts a check waits for it. It makes ready what needs rights, gives the rights up, starts the
command, waits for it, ends what it left, and writes one line of numbers to the status descriptor: exit code
(negative for a signal), whether the disk is full, CPU milliseconds, the largest process in KiB, and how often
its control group ended a process for memory and refused to start one.
"""

import _socket
import marshal
import os
import resource
import sys

# Known to whoever checks types; to import them would take longer than all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Order = dict[str, Any]

_SCM_RIGHTS = 1
_SIOCSIFADDR = 0x8916
_FULL_BELOW_BYTES = 1 << 16
_PR_SET_PDEATHSIG = 1
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_DROP = 24
# To change owners and rights of files, to end processes, to become another user, to listen below port 1024.
_KEPT_OF_ROOT = (0, 1, 2, 3, 4, 5, 6, 7, 10, 18)
_NICER = 5
_OOM_SCORE = "/proc/self/oom_score_adj"
_FIRST_WITHOUT_MEMORY = "500"


def main() -> None:
    order = _order(sys.argv[1])
    os.set_inheritable(order["status"], False)
    if order["supervise"]:
        _supervise()
    os.umask(0o022)
    _stand_back()
    _make_folders(order)
    _listen(order)
    if order["drop_rights"]:
        _drop_rights()
    if order["uid"] is not None:
        _become(order["uid"])
    watching = _watching(order)
    child = os.fork()
    if child == 0:
        _execute(order, watching)
    seen = _seen(order, *_wait(child, order, watching))
    os.write(order["status"], seen.encode())
    # The namespace ends with us, and everything in it. Not sys.exit: nothing of Python's is left to do.
    os._exit(0)


def _order(place: str) -> "Order":
    if place.isdecimal():
        with os.fdopen(int(place), "rb") as order_file:
            order = marshal.loads(order_file.read())
        return {**order, "control": -1}
    # In a container we inherit nothing, so the descriptors come over a socket, which stays open: its end is
    # the end of whoever started us.
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    control.connect(place)
    _, messages, _, _ = control.recvmsg(1, _socket.CMSG_SPACE(12))
    numbers = messages[0][2]
    written, status, socket = (int.from_bytes(numbers[at : at + 4], sys.byteorder) for at in (0, 4, 8))
    with os.fdopen(written, "rb") as order_file:
        order = marshal.loads(order_file.read())
    return {**order, "status": status, "socket": socket, "control": control.detach()}


def _make_folders(order: "Order") -> None:
    uid = order["uid"]
    for folder in order["folders"]:
        os.makedirs(folder, exist_ok=True)
        if uid is not None:
            os.chown(folder, uid, uid)
    if order["copy"] is None:
        return
    source, target = order["copy"]
    copy = ("cp", "-RP", "--preserve=mode,timestamps,links", f"{source}/.", target)
    if _run(*copy, user=uid, quiet=uid is not None) == 0:
        return
    # A file that only its owner may read is copied by us.
    if uid is not None and _run(*copy) == 0 and _run("chown", "-hR", f"{uid}:{uid}", target) == 0:
        return
    _give_up(order, "the files of the checkout do not fit" if _disk_full(order) else "copying failed")


def _listen(order: "Order") -> None:
    if not order["listen"]:
        return
    for number, address in enumerate(order["aliases"]):
        _add_address(f"lo:{number + 1}", address)
    descriptors = b""
    sockets = []
    # In a network of the command's own, which nobody else reaches.
    for host, port in order["listen"]:
        family = _socket.AF_INET6 if ":" in host else _socket.AF_INET
        listener = _socket.socket(family, _socket.SOCK_STREAM)
        listener.bind((host, port))
        listener.listen(128)
        sockets.append(listener)
        descriptors += listener.fileno().to_bytes(4, sys.byteorder)
    ours = _socket.socket(fileno=order["socket"])
    ours.sendmsg([b"x"], [(_socket.SOL_SOCKET, _SCM_RIGHTS, descriptors)])
    for each in (*sockets, ours):
        each.close()


def _add_address(label: str, address: str) -> None:
    """An address on the loopback device, so that an address of the outside is one of ours."""
    import fcntl

    request = label.encode().ljust(16, b"\0")
    request += _socket.AF_INET.to_bytes(2, sys.byteorder) + b"\0\0" + _socket.inet_aton(address)
    device = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    fcntl.ioctl(device.fileno(), _SIOCSIFADDR, request.ljust(40, b"\0"))
    device.close()


def _drop_rights() -> None:
    """Give up every capability for ever: what is started cannot gain one, whatever its user is called."""
    import ctypes

    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _limit(rlimits: list[tuple[int, int, int]]) -> None:
    for kind, soft, hard in rlimits:
        least = resource.getrlimit(kind)[1]
        if least != resource.RLIM_INFINITY:
            soft, hard = min(soft, least), min(hard, least)
        resource.setrlimit(kind, (soft, hard))


def _execute(order: "Order", watching: "Any") -> None:
    """In the child: become the command. Does not return."""
    argv = order["argv"]
    code = 127
    try:
        os.closerange(3, 1 << 16)
        os.chdir(order["cwd"])
        # Of the command alone: what ends it must have time and memory left.
        _limit(order["rlimits"])
        if order["filter"] is not None:
            watching.refuse(order["filter"])
        os.execvpe(argv[0], argv, order["environment"])
    except PermissionError as error:
        code, words = 126, error.strerror
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
    os.write(2, f"{argv[0]}: {words}\n".encode())
    os._exit(code)


def _stand_back() -> None:
    """Let the worker's loop run first, and the kernel look here first when memory runs out."""
    os.nice(_NICER)
    # Some engines show it to nobody.
    if os.access(_OOM_SCORE, os.W_OK):
        with open(_OOM_SCORE, "w") as score:
            score.write(_FIRST_WITHOUT_MEMORY)


def _watching(order: "Order") -> "Any":
    """The module that waits where there is more to see than the end of the command; none elsewhere."""
    if order["control"] < 0 and not order["watched_bytes"] and not order["watched_cpu_s"]:
        return None
    # At the end, where it hides nothing of Python's.
    sys.path.append(os.path.dirname(__file__))
    return __import__("watching")


def _wait(child: int, order: "Order", watching: "Any") -> tuple[int, int, int, int]:
    """Exit code, and what `watching.wait` counts."""
    if watching is not None:
        ended: tuple[int, int, int, int] = watching.wait(
            child, order["control"], order["watched_bytes"], order["watched_cpu_s"], order["supervise"]
        )
    else:
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == child:
                break
        ended = os.waitstatus_to_exitcode(status), 0, 0, 0
    if order["supervise"]:
        _end_children()
    return ended


def _seen(order: "Order", exit_code: int, kills: int = 0, refusals: int = 0, least_cpu_ms: int = 0) -> str:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_ms = max(round((used.ru_utime + used.ru_stime) * 1000), least_cpu_ms)
    return f"{exit_code} {int(_disk_full(order))} {cpu_ms} {used.ru_maxrss} {kills} {refusals}\n"


def _disk_full(order: "Order") -> bool:
    if order["disk"] is None:
        return False
    disk = os.statvfs(order["disk"])
    return disk.f_bavail * disk.f_frsize < _FULL_BELOW_BYTES or disk.f_favail == 0


def _give_up(order: "Order", words: str) -> None:
    os.write(2, f"{words}\n".encode())
    os.write(order["status"], _seen(order, 1).encode())
    os._exit(0)


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _run(*argv: str, user: int | None = None, quiet: bool = False) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            if quiet:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            if user is not None:
                _become(user)
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- without a namespace of its own: everything that is started stays below us ------------------------------


def _supervise() -> None:
    """Become whom orphans come to, and end with whoever started us."""
    import ctypes
    import signal

    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # A program with another user's rights could not be ended; with all of root's it would undo the limits.
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(64):
        if capability not in _KEPT_OF_ROOT:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)

    def end(*_: object) -> None:
        _end_children()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _end_children() -> None:
    """Kill every descendant: one that has lost its parent is our own child by then."""
    while children := _children():
        for pid in children:
            try:
                os.kill(pid, 9)
            except PermissionError:
                # A program with another user's rights: it ends by itself or not at all.
                return
        for pid in children:
            os.waitpid(pid, 0)


def _children() -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat") as file:
                stat = file.read()
        except OSError:
            continue  # it has ended meanwhile
        # The program's name stands in brackets, and may hold anything.
        if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
            found.append(int(name))
    return found


if __name__ == "__main__":
    main()
