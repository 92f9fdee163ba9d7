"""The system calls that no command of a Project needs: a filter for the kernel, as its bytes.

What is on the list gives rights in a namespace of its own, looks into other processes, reaches keys, or is a
part of the kernel that has let people out before. Everything else is allowed.
Source: Linux' `seccomp(2)`, `include/uapi/linux/{seccomp,filter,audit}.h`, and the tables of system calls.
"""

import errno
import platform
import struct
from typing import NamedTuple

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENT_0, _ARGUMENT_1 = 0, 4, 16, 24
_CLONE_NEWUSER = 0x10000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_SOCKETS = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK; neither vsock nor AF_ALG nor packets
_MEMFD_SECRET = 447
_X32 = 0x40000000


class _Numbers(NamedTuple):
    """A machine's own: its name in the kernel's audit, and its system calls."""

    audit: int
    clone: int
    clone3: int
    ioctl: int
    memfd_create: int
    socket: int
    denied: tuple[int, ...]


# fmt: off
_NEW = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442)  # io_uring, mounts by descriptor, pidfd_getfd
_MACHINES = {
    "x86_64": _Numbers(
        0xC000003E, clone=56, clone3=435, ioctl=16, memfd_create=319, socket=41,
        denied=(
            101, 103, 153, 155, 159, 161, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172, 173, 175, 176,
            179, 212, 227, 246, 248, 249, 250, 272, 298, 303, 304, 305, 308, 310, 311, 312, 313, 320, 321,
            323, *_NEW,
        ),
    ),
    "aarch64": _Numbers(
        0xC00000B7, clone=220, clone3=435, ioctl=29, memfd_create=279, socket=198,
        denied=(
            39, 40, 41, 51, 58, 60, 89, 97, 104, 105, 106, 112, 116, 117, 142, 161, 162, 170, 171, 217, 218,
            219, 224, 225, 241, 264, 265, 266, 268, 270, 271, 272, 273, 280, 282, 294, *_NEW,
        ),
    ),
}
# fmt: on


def seccomp_filter(machine: str | None = None, *, memory_files: bool = True) -> bytes | None:
    """The filter's instructions; none for a machine whose numbers we do not have.

    Without `memory_files` there are none: where nobody counts, memory that no process has would be endless.
    """
    numbers = _MACHINES.get(machine or platform.machine())
    if numbers is None:
        return None
    program = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, numbers.audit, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, _X32, 0, 1),
        _refuse(errno.ENOSYS),
    ]
    for number in numbers.denied:
        program += [_step(_EQUAL, number, 0, 1), _refuse(errno.EPERM)]
    # Its flags lie in memory, where a filter cannot look; every C library then takes the older call.
    program += [_step(_EQUAL, numbers.clone3, 0, 1), _refuse(errno.ENOSYS)]
    for number in () if memory_files else (numbers.memfd_create, _MEMFD_SECRET):
        program += [_step(_EQUAL, number, 0, 1), _refuse(errno.ENOSYS)]
    program += [
        _step(_EQUAL, numbers.clone, 0, 4),
        _step(_LOAD, _ARGUMENT_0),
        _step(_ANY_BIT, _CLONE_NEWUSER, 0, 1),
        _refuse(errno.EPERM),
        _step(_RETURN, _ALLOW),
        _step(_EQUAL, numbers.ioctl, 0, 5),
        _step(_LOAD, _ARGUMENT_1),
        _step(_EQUAL, _TIOCSTI, 1, 0),
        _step(_EQUAL, _TIOCLINUX, 0, 1),
        _refuse(errno.EPERM),
        _step(_RETURN, _ALLOW),
        _step(_EQUAL, numbers.socket, 0, len(_SOCKETS) + 2),
        _step(_LOAD, _ARGUMENT_0),
        *(_step(_EQUAL, family, len(_SOCKETS) - place, 0) for place, family in enumerate(_SOCKETS)),
        _refuse(errno.EAFNOSUPPORT),
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(program)


def _refuse(error: int) -> bytes:
    return _step(_RETURN, _ERRNO | error)


def _step(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One `struct sock_filter`."""
    return struct.pack("=HBBI", code, if_true, if_false, operand)
