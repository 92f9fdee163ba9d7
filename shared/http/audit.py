"""A service's audit log over HTTP: people see what concerns them, an SRE everything, to be exported."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field
from pydantic_core import from_json

from shared.audit.sealer import Sealer
from shared.contracts.audit import AuditEntry, AuditHead
from shared.contracts.values import Actor, Digest, ProjectId
from shared.errors import forbidden
from shared.http.pages import AsksPage
from shared.http.tokens import WhoAsks, visible_to
from shared.storage.database import Database, Transaction

_EXPORTED_MAX = 1000
_LIST = (
    "select seq, hash, entry::text from audit"
    " where seq < $1 and ($2::text[] is null or project = any($2) or (project is null and who = $3))"
    " and ($4::text is null or project = $4) and ($5::text is null or who = $5)"
    " and ($6::timestamptz is null or at >= $6) and (not $7::bool or refused)"
    " order by seq desc limit $8"
)
_EXPORT = "select seq, hash, entry::text from audit where seq > $1 order by seq limit $2"
_NO_SEQ = (1 << 63) - 1


class ListedEntry(BaseModel):
    """One entry and its hash. Addresses of clients are for SREs."""

    entry: AuditEntry
    hash: Digest


class ExportedEntries(BaseModel):
    """Entries behind the asked one, as they were hashed, and the signed head of the log."""

    entries: list[dict[str, Any]] = Field(description="`entry` and `hash` of each, oldest first")
    head: AuditHead


def router(database: Database[Any], sealer: Sealer) -> APIRouter:
    """The two routes of a service's log."""
    routes = APIRouter()

    @routes.get("/audit")
    async def audit(
        who: WhoAsks,
        page: AsksPage,
        project: ProjectId | None = None,
        actor: Annotated[str | None, Query(max_length=200)] = None,
        since: datetime | None = None,
        refused: bool = False,
    ) -> list[ListedEntry]:
        """The newest first: of Projects that the caller may see, and what the caller did besides."""
        [before] = page.after(int) or (_NO_SEQ,)
        await sealer.seal(alone=False)
        async with database.transaction() as tx:
            rows = await _listed(tx, who, before, (project, actor, since, refused), page.most)
        return [_seen(row, who) for row in page.cut(rows, lambda row: (row[0],))]

    @routes.get("/audit/export", response_model=ExportedEntries)
    async def export(
        who: WhoAsks,
        after: Annotated[int, Query(ge=0, lt=1 << 62, description="the entry that was read last")] = 0,
        limit: Annotated[int, Query(ge=1, le=_EXPORTED_MAX)] = _EXPORTED_MAX,
    ) -> Response:
        """Everything behind an entry, and the head: for an SRE, because it names people of every Project."""
        if who.role != "sre":
            raise forbidden(
                "only an SRE may export the audit log", value=who.role, cure="list your Project's entries"
            )
        await sealer.seal(alone=False)
        head = await sealer.head()
        async with database.transaction() as tx:
            rows = [row for row in await tx.fetch(_EXPORT, after, limit) if row[0] <= head.seq]
        entries = ",".join(f'{{"entry":{text},"hash":"{digest}"}}' for _, digest, text in rows)
        body = f'{{"entries":[{entries}],"head":{head.model_dump_json()}}}'
        return Response(body, media_type="application/json")

    return routes


async def _listed(
    tx: Transaction,
    who: Actor,
    before: int,
    asked: tuple[str | None, str | None, datetime | None, bool],
    most: int,
) -> Sequence[Any]:
    return await tx.fetch(_LIST, before, visible_to(who), who.id, *asked, most)


def _seen(row: Any, who: Actor) -> ListedEntry:
    document = from_json(row[2])
    if who.role != "sre" and document["who"] != who.id and document["origin"].startswith("http "):
        document["origin"] = "http"
    return ListedEntry(entry=AuditEntry.model_validate(document), hash=row[1])
