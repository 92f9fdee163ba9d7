"""`python -m tests.notifier.telling URL`: a process that tells what is left of a Release, and ends then."""

import asyncio
import sys

from services.notifier.shares import Shares
from services.notifier.store import NotifierTransaction
from shared import crash_points
from shared.storage.database import Database
from tests.notifier.notifier_world import Few


async def main(url: str) -> None:
    """Where it is told to end, it ends as by a power cut (`shared.crash_points`)."""
    crash_points.enter("notifier")
    database: Database[NotifierTransaction] = Database("notifier", url, Few)
    shares = Shares(database)
    while await shares.tell_next():
        crash_points.reached("share", "told")
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
