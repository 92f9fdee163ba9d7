"""The launcher: the first program of ours in a command's isolation, and its supervisor until it ends.

Run as `python -I -S inside.py FD`, where FD holds the order in marshal's format. It imports nothing that is
written in Python but `os`: whoever starts a check waits for it. It makes ready what needs rights, gives the
rights up, starts the command, waits for it, ends what it left, and writes one line of numbers to the status
descriptor: exit code (negative for a signal), whether the disk is full, CPU milliseconds, and the largest
process in KiB.
"""

import _socket
import marshal
import os
import resource
import sys
from typing import Any

_SCM_RIGHTS = 1
_SIOCSIFADDR = 0x8916
_FULL_BELOW_BYTES = 1 << 16
_PR_SET_PDEATHSIG = 1
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    descriptor = int(sys.argv[1])
    with os.fdopen(descriptor, "rb") as order_file:
        order = marshal.loads(order_file.read())
    os.set_inheritable(order["status"], False)
    if order["supervise"]:
        _supervise()
    os.umask(0o022)
    _make_folders(order)
    _listen(order)
    if order["drop_rights"]:
        _drop_rights()
    _limit(order["rlimits"])
    if order["uid"] is not None:
        _become(order["uid"])
    child = os.fork()
    if child == 0:
        _execute(order)
    exit_code = _wait(child, order)
    os.write(order["status"], _seen(exit_code, order).encode())
    # The namespace ends with us, and everything in it. Not sys.exit: nothing of Python's is left to do.
    os._exit(0)


def _make_folders(order: dict[str, Any]) -> None:
    uid = order["uid"]
    for folder in order["folders"]:
        os.makedirs(folder, exist_ok=True)
        if uid is not None:
            os.chown(folder, uid, uid)
    if order["copy"] is None:
        return
    source, target = order["copy"]
    copy = ("cp", "-RP", "--preserve=mode,timestamps,links", f"{source}/.", target)
    if _run(*copy, user=uid) == 0:
        return
    # A file that only its owner may read is copied by us.
    if uid is not None and _run(*copy) == 0 and _run("chown", "-hR", f"{uid}:{uid}", target) == 0:
        return
    _give_up(order, "the files of the checkout do not fit" if _disk_full(order) else "copying failed")


def _listen(order: dict[str, Any]) -> None:
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


def _execute(order: dict[str, Any]) -> None:
    """In the child: become the command. Does not return."""
    argv = order["argv"]
    code = 127
    try:
        os.closerange(3, 1 << 16)
        os.chdir(order["cwd"])
        os.execvpe(argv[0], argv, order["environment"])
    except PermissionError as error:
        code, words = 126, error.strerror
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
    os.write(2, f"{argv[0]}: {words}\n".encode())
    os._exit(code)


def _wait(child: int, order: dict[str, Any]) -> int:
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            break
    if order["supervise"]:
        _end_children()
    return os.waitstatus_to_exitcode(status)


def _seen(exit_code: int, order: dict[str, Any]) -> str:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_ms = round((used.ru_utime + used.ru_stime) * 1000)
    return f"{exit_code} {int(_disk_full(order))} {cpu_ms} {used.ru_maxrss}\n"


def _disk_full(order: dict[str, Any]) -> bool:
    if order["disk"] is None:
        return False
    disk = os.statvfs(order["disk"])
    return disk.f_bavail * disk.f_frsize < _FULL_BELOW_BYTES or disk.f_favail == 0


def _give_up(order: dict[str, Any], words: str) -> None:
    os.write(2, f"{words}\n".encode())
    os.write(order["status"], _seen(1, order).encode())
    os._exit(0)


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _run(*argv: str, user: int | None = None) -> int:
    pid = os.fork()
    if pid == 0:
        try:
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
