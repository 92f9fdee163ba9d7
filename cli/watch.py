"""Follow a Run as it goes: a live table on a terminal, one line per change elsewhere."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import typer
from rich.live import Live

from cli.answers import ReportAnswer, RunAnswer
from cli.client import Server
from cli.output import note, say, show_json, show_json_line, stdout
from cli.progress import silent
from cli.run_page import ENDED, change_line, latest_records, live_page, print_blocked
from cli.world import NoAnswer
from shared.clock import utc_now
from shared.contracts.runs import RunView
from shared.errors import Reject

WAIT_S = 20
_LOOK_S = 2
"""How often a stage that goes on is asked how far it is."""
# A service that is deployed anew answers again by then.
_PATIENCE_S = 60.0
_PAUSE_S = 1.0


def is_settled(run: RunView) -> bool:
    """The Run has ended, or waits for a person; for the registry or a worker it waits by itself."""
    if run.blocked_by is None or run.blocked_by.who == "registry":
        return run.status in ENDED
    record = latest_records(run).get(run.stage)
    return record is None or record.status != "running"


def under_way(server: Server, run: RunView) -> str | None:
    """What the executor does now, and how far it is, if it is its turn. Raises as `Server.read`."""
    report = ReportAnswer.model_validate(server.read_report("executor", "runs", run.id))
    last = report.effects[-1] if report.effects else None
    if last is None or last.done_at is not None or last.stage != run.stage:
        return None
    return f"{last.stage}: {last.name} {last.detail}, under way"


def wait_for(server: Server, run_id: str, until: Callable[[RunView], bool]) -> RunView:
    """The Run as soon as it is so. Raises as `Server.read`."""
    return next(answer.run for answer, _ in _changes(server, run_id, note) if until(answer.run))


def watch(server: Server, run_id: str, as_json: bool = False) -> RunView:
    """Show every change until the Run is settled, and give its last state."""
    if as_json:
        return _show(_changes(server, run_id, note), lambda _, document: show_json_line(document))
    if not stdout().is_terminal:
        changes = _changes(server, run_id, note, lambda words: say(f"  {words}"))
        last = _show(changes, lambda run, _: say(change_line(run, utc_now(), settled=is_settled(run))))
        print_blocked(last)
        return last
    with silent():
        return _watch_live(server, run_id)


def answer_and_watch(server: Server, document: Any, *, following: bool, as_json: bool, wanted: str) -> None:
    """End a command on a Run: say how it stands, or follow it; exits 1 unless it ends as wanted."""
    run = RunView.model_validate(document)
    if following:
        finish(watch(server, run.id, as_json), wanted)
        return
    if as_json:
        show_json(document)
        return
    say(change_line(run, utc_now(), settled=True))
    print_blocked(run)


def finish(run: RunView, *wanted: str) -> None:
    """Exits 1 unless the Run has ended in one of the ways that were wanted."""
    if run.status not in wanted:
        raise typer.Exit(1)


def _show(changes: Iterator[tuple[RunAnswer, Any]], show: Callable[[RunView, Any], None]) -> RunView:
    for answer, document in changes:
        show(answer.run, document)
        if is_settled(answer.run):
            return answer.run
    raise AssertionError("the changes of a Run never end by themselves")


def _watch_live(server: Server, run_id: str) -> RunView:
    notices: list[str] = []
    changes = _changes(server, run_id, notices.append, notices.append)
    current = next(changes)[0].run
    # The table is drawn by a clock of its own, so that durations grow while the next change is awaited.
    with Live(
        get_renderable=lambda: live_page(current, utc_now(), notices[-1] if notices else ""),
        console=stdout(),
        refresh_per_second=4,
    ):
        while not is_settled(current):
            current = next(changes)[0].run
            notices.clear()
    return current


def _changes(
    server: Server,
    run_id: str,
    notice: Callable[[str], None],
    progress: Callable[[str], None] | None = None,
) -> Iterator[tuple[RunAnswer, Any]]:
    """Every state of the Run from now on; a server that is away for a moment is awaited.

    `progress` is told how far a stage is whenever that has changed.
    """
    revision: int | None = None
    told: str | None = None
    wait_s = WAIT_S if progress is None else _LOOK_S
    answered_at = time.monotonic()
    while True:
        try:
            document = server.read(
                "planner",
                "runs",
                run_id,
                after_revision=revision,
                wait_s=None if revision is None else wait_s,
            )
        except NoAnswer as error:
            if revision is None or not error.passing or time.monotonic() - answered_at > _PATIENCE_S:
                raise
            notice(f"{error.reason}; asking again")
            time.sleep(_PAUSE_S)
            continue
        answered_at = time.monotonic()
        answer = RunAnswer.model_validate(document)
        if answer.revision != revision:
            revision = answer.revision
            yield answer, document
        elif progress is not None and answer.run.status == "running":
            words = _progress(server, answer.run)
            if words is not None and words != told:
                progress(words)
            told = words


def _progress(server: Server, run: RunView) -> str | None:
    try:
        return under_way(server, run)
    except (Reject, NoAnswer):
        # It is only said beside the Run's own state, which is awaited as before.
        return None
