"""A service's own variables, with every secret, are not for whoever may read `/proc`."""

import os
import subprocess
import sys

PROGRAM = """
import os, subprocess, sys
from shared.isolation.own_environment import hide_own_environment
before = open("/proc/self/environ").read()
hide_own_environment()
os.environ["LATER"] = "1"
seen = subprocess.run(["cat", f"/proc/{os.getpid()}/environ"], capture_output=True).stdout
handed = subprocess.run(["sh", "-c", "echo $WORKERS_SECRET"], capture_output=True, text=True).stdout
print("k3y" in before, b"k3y" in seen, os.environ["WORKERS_SECRET"], handed.strip())
"""


def test_the_variables_are_gone_from_proc_and_still_here() -> None:
    """Without it, every process of the same user reads the database's password there."""
    environment = {"WORKERS_SECRET": "k3y", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False", "k3y", "k3y"]


def test_another_process_of_the_same_user_may_not_look_into_its_memory() -> None:
    program = (
        "from shared.isolation.own_environment import hide_own_environment; hide_own_environment();"
        " import ctypes; print(ctypes.CDLL(None).prctl(3))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
