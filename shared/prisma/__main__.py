"""`python -m shared.prisma`: fetch Prisma's packages and compile them, so that nothing waits for it later."""

import sys

from shared.errors import Reject
from shared.prisma.archives import ENGINE, PARSER
from shared.prisma.wasm import load


def main() -> None:
    """Exits 1 with the reason and the cure when they cannot be had."""
    try:
        for archive in (PARSER, ENGINE):
            load(archive)
    except Reject as rejected:
        sys.exit("\n".join(f"{refusal.reason}\n  {refusal.cure}" for refusal in rejected.refusals))


main()
