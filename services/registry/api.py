"""The registry's HTTP door."""

import asyncio
import base64
import hashlib
import uuid
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response
from pydantic import JsonValue

from services.registry.answers import (
    BeingChecked,
    GateAnswer,
    Publication,
    ReleasePage,
    Stored,
    VersionMapChange,
    Withdrawal,
    advised,
)
from services.registry.checking import PackageGate
from services.registry.project_routes import add_projects, unregistered
from services.registry.store import RegistryTransaction
from services.registry.store.lists import history_page, releases_page
from shared.audit import origins
from shared.clients.content import ContentStore
from shared.clock import utc_now
from shared.contracts.releases import (
    PublishRelease,
    Release,
    ReleasePublished,
    ReleaseWithdrawn,
    WithdrawRelease,
)
from shared.contracts.values import ProjectId, SystemName, Version
from shared.contracts.version_maps import VersionMap
from shared.errors import Reject, forbidden, invalid, not_found
from shared.http.bodies import BodyTooLarge
from shared.http.door import IdempotencyKey, perform
from shared.http.downloads import download
from shared.http.limits import Slots
from shared.http.pages import AsksPage
from shared.http.tokens import WhoAsks, may_see
from shared.messaging.inbox import Inbox, Verdict
from shared.packages.archive import PACKED_BYTES_MAX
from shared.storage.database import Database
from shared.versions import precedence

BYTE_BODIES = {"/content": PACKED_BYTES_MAX, "/releases/check": PACKED_BYTES_MAX}
"""The routes that take a package, and how many bytes it may have."""

EnvelopeHeader = Annotated[str | None, Header(max_length=32 << 10)]

_WAITS = 50
"""Requests that wait for a verdict at once, unless the settings say another number."""
_A_FILE = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def router(
    inbox: Inbox[RegistryTransaction],
    database: Database[RegistryTransaction],
    gate: PackageGate,
    content: ContentStore,
    *,
    verdict_wait_s: float,
    waits: Slots | None = None,
) -> APIRouter:
    """Content, releases, Projects and version maps."""
    routes = APIRouter()
    _add_content(routes, content, gate)
    _add_publishing(routes, inbox, gate, verdict_wait_s, waits or Slots(_WAITS, _WAITS))
    _add_releases(routes, database, content)
    add_projects(routes, inbox, database)
    _add_version_maps(routes, database)
    return routes


def _add_content(routes: APIRouter, content: ContentStore, gate: PackageGate) -> None:
    @routes.post("/content", status_code=201, response_model=Stored, openapi_extra=_A_FILE)
    async def upload(request: Request, who: WhoAsks) -> Stored:
        """Keep a package's bytes (at most 64 MiB). The same bytes again have the same digest."""
        if who.role != "library":
            raise forbidden(
                f"{who.id} may not upload packages", value=who.role, cure="use a token with the role library"
            )
        digest = await content.put(await _body(request))
        origins.concerns(digest=digest)
        return Stored(digest=digest)

    @routes.post("/releases/check", openapi_extra=_A_FILE, response_model=GateAnswer)
    async def check(
        request: Request, who: WhoAsks, advice: bool = False, x_release_signature: EnvelopeHeader = None
    ) -> JSONResponse:
        """Everything for which a publish of this package would be refused now; nothing is stored.

        The Library's envelope may come in base64 as `X-Release-Signature`. An unsigned package is not
        refused here, as it may be signed yet: `signing` says how it stands.
        """
        data, envelope = await _body(request), _decoded(x_release_signature)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        system = version = signing = None
        try:
            # Whoever may look may not have the Library's server work for him.
            read = await gate.read(who.id, digest, data, proves=who.role == "library")
            system, version = read.outline.system, read.outline.manifest.version
            command = PublishRelease(actor=who, system=system, version=version, package=digest)
            signing, unproven = gate.signatures.foreseen(command, envelope, utc_now())
            judgement = await gate.foresee(command, read)
        except Reject as rejection:
            answer = GateAnswer(system=system, version=version, change=None, refusals=rejection.refusals)
        else:
            answer = GateAnswer(
                system=system,
                version=version,
                change=judgement.change,
                refusals=(*judgement.refusals, *((unproven,) if unproven else ())),
                advice=judgement.advice,
            )
        answer.signing = signing
        # Who does not ask for it gets the document that there was before it.
        return JSONResponse(answer.model_dump(mode="json", exclude=None if advice else {"advice", "signing"}))


def _add_publishing(
    routes: APIRouter,
    inbox: Inbox[RegistryTransaction],
    gate: PackageGate,
    verdict_wait_s: float,
    waits: Slots,
) -> None:
    @routes.post(
        "/releases",
        status_code=201,
        response_model=ReleasePublished,
        responses={202: {"model": BeingChecked, "description": "the package is still being checked"}},
    )
    async def publish(
        body: Publication,
        who: WhoAsks,
        request: Request,
        idempotency_key: IdempotencyKey = None,
        advice: bool = False,
    ) -> JSONResponse:
        """Publish an uploaded package. The verdict on it is the answer, with advice if that is asked for."""
        key = idempotency_key or str(uuid.uuid4())
        command = PublishRelease(actor=who, **dict(body))
        # Taken before anything is done: who is told to come back has published nothing.
        with waits.hold(who.id):
            answer = await perform(inbox, command, key)
            verdict: Verdict | None = Verdict(answer)
            if answer is None:
                # The source that `perform` gives to this actor's messages.
                verdict = await gate.verdict(f"/http/{who.id}", key, verdict_wait_s, request.is_disconnected)
        if verdict is None:
            return JSONResponse(BeingChecked(idempotency_key=key).model_dump(), 202)
        if verdict.refusals:
            raise Reject(*verdict.refusals)
        return JSONResponse(advised(verdict) if advice else verdict.answer, 201)

    @routes.post("/releases/{system}/{version}/withdraw", response_model=ReleaseWithdrawn)
    async def withdraw(
        system: SystemName,
        version: Version,
        body: Withdrawal,
        who: WhoAsks,
        idempotency_key: IdempotencyKey = None,
    ) -> JsonValue:
        """Take a Release out of what is offered."""
        command = WithdrawRelease(actor=who, system=system, version=version, reason=body.reason)
        return await perform(inbox, command, idempotency_key)


def _add_releases(routes: APIRouter, database: Database[RegistryTransaction], content: ContentStore) -> None:
    @routes.get("/releases")
    async def releases(
        _: WhoAsks, page: AsksPage, system: SystemName | None = None, withdrawn: bool | None = None
    ) -> list[Release]:
        """What is published, by System, the newest first."""
        after = page.after(str, _version)
        async with database.transaction() as tx:
            found, more = await releases_page(tx, system, withdrawn, after, page.most)
        return page.cut(found, lambda release: (release.system, release.version), more=more)

    @routes.get("/releases/{system}/{version}")
    async def release(system: SystemName, version: Version, _: WhoAsks) -> ReleasePage:
        """One Release with the changelog and the notes of its version."""
        async with database.transaction() as tx:
            row = await tx.release_row(system, version)
        if row is None:
            raise _unpublished(system, version)
        return ReleasePage(
            release=row.release(), changelog=row.changelog, migration_notes=row.migration_notes
        )

    @routes.get(
        "/releases/{system}/{version}/package",
        response_class=Response,
        responses={200: {"content": {"application/gzip": {}}}},
    )
    async def package(system: SystemName, version: Version, _: WhoAsks) -> Response:
        """The package's bytes, as they were published."""
        async with database.transaction() as tx:
            row = await tx.release_row(system, version)
        if row is None:
            raise _unpublished(system, version)
        return await download(content, row.release().package, "application/gzip")


def _add_version_maps(routes: APIRouter, database: Database[RegistryTransaction]) -> None:
    @routes.get("/version-maps/{project}")
    async def version_map(project: ProjectId, who: WhoAsks) -> VersionMap:
        """What the Project pins now."""
        may_see(who, project, unregistered(project))
        async with database.transaction() as tx:
            standing = await tx.standing(project)
        if standing is None:
            raise unregistered(project)
        return standing.version_map

    @routes.get("/version-maps/{project}/history")
    async def history(project: ProjectId, who: WhoAsks, page: AsksPage) -> list[VersionMapChange]:
        """Every state that the map had, the newest first."""
        may_see(who, project, unregistered(project))
        [before] = page.after(int) or (None,)
        async with database.transaction() as tx:
            found, more = await history_page(tx, project, before, page.most)
        if not found and before is None:
            raise unregistered(project)
        return [
            VersionMapChange.model_validate(
                {"event": name, "happened_at": happened_at, "version_map": event.version_map}
            )
            for _, name, happened_at, event in page.cut(found, lambda row: (row[0],), more=more)
        ]


def _version(text: str) -> str:
    """The text, if it is a version. Raises ValueError."""
    precedence(text)
    return text


def _unpublished(system: str, version: str) -> Reject:
    return not_found(
        f"{system} {version} is not published",
        field="version",
        value=version,
        cure=f"see what is: GET /registry/releases?system={system}",
    )


async def _body(request: Request) -> bytes:
    """The raw body. Raises `BodyTooLarge` as soon as it is too big; none of the rest is read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > PACKED_BYTES_MAX:
            raise BodyTooLarge(PACKED_BYTES_MAX)
    if not body:
        raise invalid("the body is empty", field="body", cure="send the package's bytes as they are")
    return bytes(body)


def _decoded(header: str | None) -> bytes | None:
    """The envelope of the header; of what is not base64 bytes that prove nothing."""
    if not header:
        return None
    try:
        return base64.b64decode(header, validate=True)
    except ValueError:
        return b""
