"""Signatures, receipts and version maps as signed papers, which prove them offline."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from services.registry.domain.version_maps import Event
from services.registry.store import RegistryTransaction
from services.registry.store.lists import recorded_map
from shared.clients.content import ContentStore
from shared.contracts.releases import ReleaseSignature
from shared.contracts.values import ProjectId, RunId, SystemName, Version, canonical_digest
from shared.errors import not_found
from shared.http.downloads import ENVELOPE, ENVELOPE_TYPE, download, envelope
from shared.http.tokens import WhoAsks, may_see
from shared.identity.keys import SigningKey
from shared.signing.statements import VERSION_MAP, sign_statement
from shared.storage.database import Database


def add_exports(
    routes: APIRouter, database: Database[RegistryTransaction], content: ContentStore, key: SigningKey
) -> None:
    """Routes that answer with envelopes; those of version maps are signed with the registry's key."""

    async def signature_of(system: str, version: str) -> ReleaseSignature:
        async with database.transaction() as tx:
            row = await tx.release_row(system, version)
        signature = None if row is None else row.release().signature
        if signature is None:
            raise not_found(
                f"{system} {version} is not signed" if row else f"{system} {version} is not published",
                field="version",
                value=version,
                cure=f"see what is: upgradepath release list {system}",
            )
        return signature

    @routes.get("/releases/{system}/{version}/signature", response_class=Response, responses=ENVELOPE)
    async def signature(system: SystemName, version: Version, _: WhoAsks) -> Response:
        """The Library's DSSE envelope about the package."""
        return await download(content, (await signature_of(system, version)).envelope, ENVELOPE_TYPE)

    @routes.get("/releases/{system}/{version}/receipt", response_class=Response, responses=ENVELOPE)
    async def receipt(system: SystemName, version: Version, _: WhoAsks) -> Response:
        """The registry's DSSE envelope: when it saw the Library's."""
        return await download(content, (await signature_of(system, version)).receipt, ENVELOPE_TYPE)

    @routes.get("/version-maps/{project}/signed", response_class=Response, responses=ENVELOPE)
    async def signed_map(
        project: ProjectId, who: WhoAsks, run_id: Annotated[RunId | None, Query()] = None
    ) -> Response:
        """The newest recorded version map, or the one that this Run recorded, in a DSSE envelope."""
        missing = not_found(
            f"{project} has no such version map",
            field="project",
            value=project,
            cure="see what is: upgradepath version-map history PROJECT",
        )
        may_see(who, project, missing)
        async with database.transaction() as tx:
            event = await recorded_map(tx, project, run_id)
        if event is None:
            raise missing
        return envelope(map_statement(event, key))


def map_statement(event: Event, key: SigningKey) -> bytes:
    """The envelope around a version map as this event left it."""
    version_map = event.version_map
    document = version_map.model_dump(mode="json")
    subject = f"{version_map.project}/version-map/{version_map.revision}"
    predicate = {"version_map": document, "recorded_by": type(event).__name__}
    return sign_statement(VERSION_MAP, [(subject, canonical_digest(document))], predicate, [key])
