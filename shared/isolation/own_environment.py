"""What this process was started with, out of the sight of every other: secrets stand in its variables."""

import ctypes
import os
import sys
from pathlib import Path

_PR_SET_DUMPABLE = 4
_START, _END = 47, 48
"""Where the variables begin and end, counted behind the program's name. Source: `proc_pid_stat(5)`."""


def hide_own_environment() -> None:
    """Empty `/proc/<pid>/environ` of this process, and let no other of its user look into its memory.

    The variables stay what they are for this process. Root can still read its memory: isolation is what
    keeps a command from that. Does nothing elsewhere than on Linux.
    """
    if sys.platform != "linux":
        return
    words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(words[_START]), int(words[_END])
    # Written anew, they lie in memory that nothing outside knows of.
    for name, value in os.environb.items():
        os.environb[name] = value
    if 0 < begin < end:
        ctypes.memset(begin, 0, end - begin)
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
