"""What takes long says what it is doing, on stderr alone; what is quick, or speaks for itself, does not."""

import threading

import pytest

from cli.output import note
from cli.progress import Progress, doing, watched


class Heard:
    """Lines, and a wait for the next one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._more = threading.Semaphore(0)

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self._more.release()

    def wait(self) -> None:
        assert self._more.acquire(timeout=10)


def test_the_innermost_work_is_named_once_it_takes_long() -> None:
    heard = Heard()
    progress = Progress(heard, first_after_s=0.05)
    with progress.running("upgradepath release list"):
        heard.wait()
        with progress.doing("asking the registry"):
            heard.wait()
    words = [line.split(" … ")[0] for line in heard.lines]
    assert words == ["upgradepath release list", "asking the registry"]
    assert all(line.endswith(" s)") for line in heard.lines)


def test_what_is_quick_or_speaks_for_itself_says_nothing() -> None:
    heard = Heard()
    with Progress(heard).running("quick"):
        pass
    progress, done = Progress(heard, first_after_s=0.01), threading.Event()
    with progress.running("a live table"), progress.doing(None):
        done.wait(0.1)
    assert heard.lines == []


def test_it_is_said_on_stderr_alone(capsys: pytest.CaptureFixture[str]) -> None:
    said = threading.Event()

    def tell(line: str) -> None:
        note(line)
        said.set()

    with watched("upgradepath release list --json", tell), doing("asking registry"):
        assert said.wait(10)
    seen = capsys.readouterr()
    assert (seen.out, seen.err) == ("", "asking registry … (2 s)\n")
