"""What people read: colour and tables on a terminal, plain lines elsewhere; refusals on stderr."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from shared.contracts.refusals import Refusal

# What others wrote must not steer the reader's terminal.
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), "�")
_CONTROLS.update({ord("\n"): "\n", ord("\t"): "    ", ord("\r"): ""})


def stdout() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def stderr() -> Console:
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def clean(text: object) -> str:
    """The text without control characters."""
    return str(text).translate(_CONTROLS)


def text(value: object, style: str = "") -> Text:
    """A piece of a line, safe to show."""
    return Text(clean(value), style=style)


def line(*parts: str | Text) -> Text:
    """One line of several pieces."""
    return Text.assemble(*(part if isinstance(part, Text) else text(part) for part in parts))


def say(*lines: RenderableType) -> None:
    """Print each; strings and lines are not wrapped, so that what reads them by line can."""
    console = stdout()
    for item in lines:
        console.print(text(item) if isinstance(item, str) else item, soft_wrap=isinstance(item, str | Text))


def note(message: str) -> None:
    """Something that is beside the answer, on stderr."""
    stderr().print(text(message, "dim"), soft_wrap=True)


def raw(written: str) -> None:
    """Exactly these characters: no tab is widened, no line is wrapped."""
    stream = stdout().file
    stream.write(written)
    stream.flush()


def show_json(document: Any) -> None:
    """The document as it came."""
    raw(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def show_json_line(document: Any) -> None:
    """The document on one line, for those who read a stream of them."""
    raw(json.dumps(document, ensure_ascii=False) + "\n")


def table(headers: Sequence[str], rows: Iterable[Sequence[str | Text]], empty: str) -> None:
    """Rows under headers: a table on a terminal, tab-separated lines elsewhere; `empty` if none."""
    console = stdout()
    cells = [[cell if isinstance(cell, Text) else text(cell) for cell in row] for row in rows]
    if not cells:
        note(empty)
        return
    if not console.is_terminal:
        for row in ([text(header) for header in headers], *cells):
            raw("\t".join(cell.plain.replace("\n", " ") for cell in row) + "\n")
        return
    console.print(grid(headers, cells))


def grid(headers: Sequence[str], rows: Iterable[Sequence[Text]]) -> Table:
    """A table for a terminal."""
    made = Table(*headers, box=None, header_style="bold dim", pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        made.add_row(*row)
    return made


def refuse(refusals: Iterable[Refusal]) -> None:
    """Each refusal with reason, field and cure, on stderr."""
    _tell(text("refused: ", "bold red"), refusals)


def advise(advice: Iterable[Refusal]) -> None:
    """The same for what stops nothing."""
    _tell(text("mind: ", "bold yellow"), advice)


def _tell(word: Text, refusals: Iterable[Refusal]) -> None:
    console = stderr()
    for refusal in refusals:
        console.print(line(word, refusal.reason), soft_wrap=True)
        if refusal.field is not None:
            value = f" = {refusal.value}" if refusal.value is not None else ""
            console.print(line(text("  field: ", "dim"), f"{refusal.field}{value}"), soft_wrap=True)
        console.print(line(text("  cure:  ", "dim"), refusal.cure), soft_wrap=True)


def fail(reason: str, cure: str) -> None:
    """No answer, and what to do, on stderr."""
    console = stderr()
    console.print(line(text("no answer: ", "bold red"), reason), soft_wrap=True)
    console.print(line(text("  cure:  ", "dim"), cure), soft_wrap=True)


def when(moment: datetime | None) -> str:
    """A time as people read it: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def took(seconds: float) -> str:
    """A duration as people read it."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s"
