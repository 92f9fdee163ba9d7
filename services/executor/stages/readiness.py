"""Whether a database can take the upgrade's migrations, asked before anything is applied to it."""

import re
from collections.abc import Collection, Sequence

from services.executor.clients import migrations, preflight
from services.executor.clients.migration_files import Migration
from services.executor.clients.prisma_8 import ledger_of
from services.executor.clients.restore_plan import cannot_restore
from shared.clients.git import Git
from shared.contracts.projects import PrismaPaths
from shared.contracts.stages import Finding
from shared.contracts.values import Commit
from shared.errors import Failure

_POSTGRESQL = re.compile(rb'^[^\S\n]*+provider\s*+=\s*+"postgres(?:ql)?"', re.MULTILINE)


async def unready(url: str, history: Sequence[Migration], run: Collection[str]) -> list[Finding]:
    """Everything for which the Run's folders could not be applied there, each with its cure; writes nothing.

    `history` is the whole folder, with what the Run brings. Raises Retry when the database cannot be asked.
    """
    ledger = await ledger_of(url)
    found = [] if ledger is None else [ledger]
    found += await migrations.unfit(url, history, run)
    done = await migrations.applied(url)
    pending = [each for each in history if each.folder in run and each.folder not in done]
    found += await preflight.lacking(url, pending)
    # Before a migration is applied the database is dumped, and that must be able to come back.
    return found + (await cannot_restore(url) if pending else [])


async def require_ready(url: str, history: Sequence[Migration], run: Collection[str], *, where: str) -> None:
    """Raise Failure with all of `unready`; `where` is whose database it is, for people."""
    found = await unready(url, history, run)
    if found:
        raise Failure(f"{where} cannot take the upgrade's migrations", *found)


def is_postgresql(lock: bytes) -> bool:
    """Whether Prisma's lock file says that the migrations are for PostgreSQL."""
    return _POSTGRESQL.search(lock) is not None


async def require_postgresql(git: Git, commit: Commit, prisma: PrismaPaths) -> None:
    """Raise Failure when Prisma keeps these migrations for another database (P3019)."""
    lock = await git.show(commit, prisma.lock_file)
    if lock is not None and not is_postgresql(lock):
        raise Failure(
            "the Project's migrations are not for PostgreSQL (P3019)",
            Finding(
                kind="migration",
                subject=prisma.lock_file,
                detail=lock.decode(errors="replace"),
                cure='only provider = "postgresql" can be upgraded',
            ),
        )
