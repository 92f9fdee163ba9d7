"""Two descriptions of a schema, compared. Pure.

A description has two kinds of lines. *Structure* says in words what code and migrations see: tables, columns,
constraints, indexes, views, functions. *Rows* are the catalogues' own (`of view public.v: …`), and have all
there is: owners, rights, options, comments, modes.
"""

from collections.abc import Iterator, Sequence

Description = Sequence[str]
ROW = "of "
"""How a line of the catalogues' own rows begins."""


def structure(lines: Description) -> tuple[str, ...]:
    """The lines that say in words what code and migrations see."""
    return tuple(line for line in lines if not line.startswith(ROW))


def differences(
    before: Description, now: Description, names: tuple[str, str] = ("missing:", "left:")
) -> tuple[str, ...]:
    """The lines that only one of them has, each behind its name; none when they are the same.

    Where the structure says it, the rows, which say it again, are left out.
    """
    for lines in (structure, _rows):
        then, there = set(lines(before)), set(lines(now))
        found = [f"{names[1]} {line}" for line in lines(now) if line not in then]
        found += [f"{names[0]} {line}" for line in lines(before) if line not in there]
        if found:
            return tuple(_shortened(found))
    return ()


def _rows(lines: Description) -> tuple[str, ...]:
    return tuple(line for line in lines if line.startswith(ROW))


def _shortened(found: list[str]) -> Iterator[str]:
    """Of a row that changed only its changed values: `left: of view v: relowner=a`."""
    parts = {line: _values(line) for line in found}
    for line, (sign, called, values) in parts.items():
        others = [more for s, c, more in parts.values() if c == called and s != sign]
        if called and len(others) == 1:
            changed = [value for value in values if value not in others[0]]
            gone = [value for value in others[0] if value not in values]
            yield f"{sign} {called}: {'; '.join(changed) or 'without ' + '; '.join(gone)}"
        else:
            yield line


def _values(line: str) -> tuple[str, str, tuple[str, ...]]:
    sign, _, rest = line.partition(" ")
    if not rest.startswith(ROW):
        return sign, "", ()
    called, _, values = rest.partition(": ")
    return sign, called, tuple(values.split("; "))
