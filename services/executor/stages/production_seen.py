"""What a plan says of production's schema: what is the hosting's, and what no migration makes."""

from collections.abc import Sequence

import asyncpg

from services.executor.clients import migrations
from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import (
    create_database,
    described,
    drop_database,
    foreign_schemas,
    session,
)
from services.executor.domain.whose import Whose
from services.executor.stages.same_schema import unlike
from services.executor.stages.staging import production_url, staging_database
from services.executor.stages.tools import Tools
from shared.errors import Failure, Retry
from shared.jobs.job import Job

_SHOWN = 20


async def left_alone(url: str, whose: Whose) -> tuple[str, ...]:
    """The hosting's in that database: `schema auth`, `extension pg_net`. Raises Retry."""
    async with session(url) as connection:
        schemas = await foreign_schemas(connection, whose)
        return whose.left_alone(await described(connection), schemas)


async def not_made(job: Job, tools: Tools, history: Sequence[Migration], whose: Whose) -> tuple[str, ...]:
    """In what production is not what the migrations make on staging's server: `prepare` would refuse it.

    They are replayed in a database of their own there. Raises Retry when that server cannot be used now.
    """
    database = staging_database(job, tools)
    await drop_database(database.server, database.proof)
    try:
        await create_database(database.server, database.proof)
        await migrations.apply(database.proof_url, history, job.fencing_token)
        names = ("only by the migrations:", "only in production:")
        found = await unlike(database.proof_url, production_url(job, tools), names, whose)
        more = (f"and {len(found) - _SHOWN} more",) if len(found) > _SHOWN else ()
        return (*found[:_SHOWN], *more)
    except Failure as failure:
        return (f"the Project's own migrations do not run on an empty database: {failure}",)
    except asyncpg.DuplicateDatabaseError as error:
        raise Retry(f"another worker proves in {database.proof}") from error
    finally:
        await drop_database(database.server, database.proof)
