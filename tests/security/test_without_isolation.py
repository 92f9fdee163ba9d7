"""What is promised even where nothing isolates: the variables, limits, and an end to everything."""

import asyncio
import os
import secrets
from pathlib import Path

import pytest

from shared.clients.processes import DeadlineExceeded
from shared.isolation.bare import Bare
from shared.isolation.cgroups import Cgroups
from shared.isolation.choosing import Isolation
from tests.security.runners import SMALL, attack, attack_together, processes_with
from tests.security.unisolated import KILLS_ITS_SUPERVISOR, LEAVES, OUTLASTS, SEES, STAYS, USES

HERE = Isolation(Bare(), SMALL)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each attack printed; a process each, in one command."""
    checkout = tmp_path_factory.mktemp("checkout")
    facts = {
        "session": os.getsid(0),
        "home": os.environ["HOME"],
        "checkout": str(checkout),
        "nice": os.nice(0),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKERS_OWN", "s3cret")
        programs = {name: program.format(**facts) for name, program in (SEES | USES).items()}
        return attack_together(Bare(), checkout, programs)


@pytest.mark.parametrize("name", SEES | USES)
def test_what_holds_without_isolation(name: str, said: dict[str, str]) -> None:
    assert "ESCAPED" not in said[name], said[name]
    assert "held" in said[name], said[name]


async def test_nothing_that_was_left_running_lives_on(checkout: Path) -> None:
    """No group helps here: the supervisor finds them all, and waits for no pipe that they hold open."""
    without_group = Isolation(Bare(Cgroups(2, {})), SMALL)
    marks = {name: secrets.token_hex(8) for name in STAYS}
    ended = await asyncio.gather(
        *(
            attack(without_group, checkout, program.format(mark=marks[name]))
            for name, program in STAYS.items()
        )
    )
    assert [name for name, each in zip(STAYS, ended, strict=True) if "held" not in each.output] == []
    assert [name for name, mark in marks.items() if processes_with(mark)] == []


@pytest.mark.parametrize("cgroups", [None, Cgroups(2, {})], ids=["in a group", "without a group"])
async def test_to_kill_the_supervisor_does_not_help(cgroups: Cgroups | None, checkout: Path) -> None:
    mark = secrets.token_hex(8)
    program = KILLS_ITS_SUPERVISOR.format(mark=mark)
    await attack(Isolation(Bare(cgroups), SMALL), checkout, program)
    assert not processes_with(mark)


async def test_a_deadline_ends_whatever_outlasts_it(checkout: Path) -> None:
    marks = {name: secrets.token_hex(8) for name in OUTLASTS}

    async def outlast(name: str) -> None:
        program = f"mark = {marks[name]!r}\n{OUTLASTS[name]}"
        with pytest.raises(DeadlineExceeded):
            await attack(HERE, checkout, program, deadline_s=2)

    await asyncio.gather(*map(outlast, OUTLASTS))
    assert [name for name, mark in marks.items() if processes_with(mark)] == []


async def test_nothing_is_left_in_a_folder_and_nothing_outside_is_touched(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, outside = tmp_path / "scratch", tmp_path / "outside"
    for folder in (scratch, outside):
        folder.mkdir()
    (outside / "kept").write_text("mine")
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    ended = await asyncio.gather(
        *(
            attack(HERE, checkout, f"import os, socket\n{program.format(outside=str(outside))}")
            for program in LEAVES.values()
        )
    )
    assert {name: each.output for name, each in zip(LEAVES, ended, strict=True) if each.exit_code} == {}
    assert list(scratch.iterdir()) == []
    assert (outside / "kept").read_text() == "mine"
    assert os.listdir(checkout) == ["greeting.txt"]
