"""A process ends with the exit code of what it did, whatever native threads still do."""

import subprocess
import sys

import pytest

_PROGRAM = """
import atexit, os, sys, threading
from cli.ending import ends_at_once

class Late:
    # Runs only where the interpreter takes itself apart, as a native thread that comes back to Python does.
    def __del__(self, abort=os.abort):
        abort()

late = Late()

def main():
    with ends_at_once():
        atexit.register(print, "registered later")
        threading.Thread(target=sys.stdout.write, args=("a thread of its own\\n",)).start()
        sys.stdout.write("an answer\\n")
        {ending}

main()
"""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("pass", 0),
        ("sys.exit()", 0),
        ("sys.exit(4)", 4),
        ("sys.exit('no')", 1),
        ("raise KeyboardInterrupt", 130),
        ("raise ValueError", 1),
    ],
)
def test_the_exit_code_is_that_of_the_work(ending: str, code: int) -> None:
    """`doctor` ended with 134 after it had said that all is well: a script took that for a fault."""
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(ending=ending)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert sorted(ended.stdout.splitlines()) == ["a thread of its own", "an answer", "registered later"]


def test_without_it_such_a_thread_ends_the_process() -> None:
    """The test above shows something: the same program without the cure is aborted."""
    bare = _PROGRAM.format(ending="pass").replace("with ends_at_once():", "if True:")
    ended = subprocess.run([sys.executable, "-c", bare], capture_output=True, check=False)
    assert ended.returncode == -6
