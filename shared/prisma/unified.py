"""The schema that all fragments make together, judged by Prisma itself; errors where they were written."""

from shared.prisma.blocks import Unreadable
from shared.prisma.fragments import merge
from shared.prisma.ownership import Conflicts, Unified
from shared.prisma.parser import Files, InvalidSchema, PrismaSchema, Problem, with_datasource


async def unify(prisma: PrismaSchema, fragments: Files) -> Unified:
    """Merge the fragments and have the official parser judge the whole.

    Raises `InvalidSchema` with every conflict, or else with every error, by file and line of the fragments.
    """
    try:
        merged = merge(fragments)
    except Unreadable as error:
        raise InvalidSchema((Problem(error.path, error.line, error.message),)) from error
    if isinstance(merged, Conflicts):
        disputes = (
            Problem(*conflict.other.place, f"{conflict}; {conflict.cure}", against=conflict.one.place)
            for conflict in merged.conflicts
        )
        raise InvalidSchema(tuple(disputes))
    found = [each for each in await prisma.lint(with_datasource(merged.files)) if each.severity == "error"]
    if found:
        raise InvalidSchema(
            tuple(Problem(*merged.origins[each.file][each.line - 1], each.message) for each in found)
        )
    return merged
