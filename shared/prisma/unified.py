"""The schema that all fragments make together, judged by Prisma itself; errors where they were written."""

from shared.prisma.blocks import Unreadable
from shared.prisma.fragments import merge
from shared.prisma.ownership import Conflicts, Unified
from shared.prisma.parser import Files, InvalidSchema, PrismaSchema, Problem, with_datasource
from shared.prisma.wasm import Panicked, TookTooLong
from shared.reading.twice import GivenUp, read_twice

_BYTES_MAX = 4 << 20
"""Of all files together: Prisma's parser takes seconds for as much."""
_DISPUTES_MAX = 100


async def unify(prisma: PrismaSchema, fragments: Files) -> Unified:
    """Merge the fragments and have the official parser judge the whole.

    Raises `InvalidSchema` with every conflict, or else with every error, by file and line of the fragments;
    also for files that are too much for a reader, and that break the parser down.
    """
    try:
        merged = await read_twice("prisma/schema", merge_bounded, fragments)
    except GivenUp as given_up:
        (refusal,) = given_up.refusals
        raise InvalidSchema((Problem(_named(refusal.field, fragments), 1, refusal.reason),)) from given_up
    except Unreadable as error:
        raise InvalidSchema((Problem(error.path, error.line, error.message),)) from error
    if isinstance(merged, Conflicts):
        disputes = (
            Problem(*conflict.other.place, f"{conflict}; {conflict.cure}", against=conflict.one.place)
            for conflict in merged.conflicts[:_DISPUTES_MAX]
        )
        raise InvalidSchema(tuple(disputes))
    found = [each for each in await _linted(prisma, merged) if each.severity == "error"]
    if found:
        raise InvalidSchema(
            tuple(Problem(*merged.origins[each.file][each.line - 1], each.message) for each in found)
        )
    return merged


def merge_bounded(fragments: Files) -> Unified | Conflicts:
    """Merge them in this process: a child calls it. Raises `Unreadable`, also for too much together."""
    size = 0
    for path, text in fragments.items():
        size += len(text.encode(errors="replace"))
        if size > _BYTES_MAX:
            raise Unreadable(path, 1, f"the schema files have more than {_BYTES_MAX >> 20} MiB together")
    return merge(fragments)


async def _linted(prisma: PrismaSchema, merged: Unified) -> tuple[Problem, ...]:
    """What Prisma says. Where its parser breaks down, that is the problem of the file that does it."""
    files = with_datasource(merged.files)
    try:
        return await prisma.lint(files)
    except Panicked as panicked:
        if len(merged.files) > 1 and not isinstance(panicked, TookTooLong):
            for path, text in merged.files.items():
                try:
                    await prisma.lint(with_datasource({path: text}))
                except Panicked as alone:
                    return (_broken_down(path, alone),)
        return (_broken_down(max(merged.files, key=lambda path: len(merged.files[path])), panicked),)


def _broken_down(path: str, panicked: Panicked) -> Problem:
    said = str(panicked).partition("\n")[0]
    why = said if isinstance(panicked, TookTooLong) else f"it broke down ({said})"
    return Problem(path, 1, f"Prisma's parser cannot read it: {why}; make it smaller or simpler")


def _named(field: str | None, fragments: Files) -> str:
    """The file that was being read, if that is known; else the first."""
    return field if field in fragments and field is not None else min(fragments, default="prisma/schema")
