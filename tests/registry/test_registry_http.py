"""The HTTP door: verdicts as answers, problems with cures, and reads."""

import asyncio
from typing import Any

import pytest

from services.registry.checking import PackageGate
from services.registry.signatures import SignatureCheck
from shared.contracts.releases import ReleasePublished, ReleaseWithdrawn
from shared.contracts.values import Actor
from tests.registry.registry_world import LENA, MIRA, PINS, SAM, Registry, files, pack, project, token
from tests.support.doors import WatchedSlots
from tests.support.signing import UNSIGNED

PAT = Actor(id="pat@other.example", role="maintainer", projects=("other-portal",))


async def upload(registry: Registry, data: bytes) -> str:
    answer = await registry.http.post("/content", content=data, headers=token(LENA))
    assert answer.status_code == 201
    digest: str = answer.json()["digest"]
    return digest


async def post_release(registry: Registry, version: str, digest: str, key: str, **query: str) -> Any:
    return await registry.http.post(
        "/releases",
        params=query,
        json={"system": "auth-system", "version": version, "package": digest},
        headers={**token(LENA), "Idempotency-Key": key},
    )


async def test_publishing_waits_for_the_gates_verdict(registry: Registry) -> None:
    digest = await upload(registry, pack(files()))
    await registry.gate.start()
    answer = await post_release(registry, "1.2.4", digest, "publish-1.2.4")
    assert answer.status_code == 201
    published = ReleasePublished.model_validate(answer.json())
    assert published.release.version == "1.2.4"
    again = await post_release(registry, "1.2.4", digest, "publish-1.2.4")
    assert (again.status_code, again.json()) == (201, answer.json())
    assert await registry.sent() == [published]


async def test_a_package_is_read_as_it_was_published(registry: Registry) -> None:
    data = pack(files())
    digest = await upload(registry, data)
    await registry.gate.start()
    await post_release(registry, "1.2.4", digest, "publish-1.2.4")
    answer = await registry.http.get("/releases/auth-system/1.2.4/package", headers=token(MIRA))
    assert (answer.status_code, answer.content) == (200, data)
    missing = await registry.http.get("/releases/auth-system/9.9.9/package", headers=token(MIRA))
    assert missing.status_code == 404


async def test_a_refusal_is_a_problem_and_the_same_again(registry: Registry) -> None:
    digest = await upload(registry, pack(files("1.3.0")))
    await registry.gate.start()
    for _ in range(2):
        answer = await post_release(registry, "1.2.4", digest, "publish-1.2.4")
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        (refusal,) = answer.json()["refusals"]
        assert refusal["field"] == "system.toml: version"
        assert "publish it as 1.3.0" in refusal["cure"]


async def test_a_slow_check_is_answered_202_and_later_by_its_verdict(registry: Registry) -> None:
    digest = await upload(registry, pack(files()))
    async with registry.door(verdict_wait_s=0) as impatient:
        answer = await impatient.post(
            "/releases",
            json={"system": "auth-system", "version": "1.2.4", "package": digest},
            headers=token(LENA),
        )
    assert answer.status_code == 202
    await registry.check_all()
    key = answer.json()["idempotency_key"]
    later = await post_release(registry, "1.2.4", digest, key)
    assert later.status_code == 201
    advised = await post_release(registry, "1.2.4", digest, key, advice="true")
    assert "nobody has proven" in advised.json()["advice"][0]["reason"]
    # Who published before there was advice gets what there was.
    assert later.json() == {name: said for name, said in advised.json().items() if name != "advice"}


async def test_who_publishes_waits_in_a_counted_place(registry: Registry) -> None:
    """A hundred requests of one token waited for verdicts, a minute each; refused, nothing was published."""
    digest = await upload(registry, pack(files()))
    waits = WatchedSlots(2, 1)
    async with registry.door(waits=waits) as registry.http:
        waiting = asyncio.create_task(post_release(registry, "1.2.4", digest, "publish-1.2.4"))
        await waits.taken.wait()
        refused = await post_release(registry, "1.2.4", digest, "publish-again")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        await registry.gate.start()
        assert (await waiting).status_code == 201
        assert waits.given_back.is_set()


async def test_a_waiter_hears_of_the_verdict_of_another_process(registry: Registry) -> None:
    digest = await upload(registry, pack(files()))
    waiting = asyncio.create_task(post_release(registry, "1.2.4", digest, "publish-1.2.4"))
    other = PackageGate(
        registry.database, registry.content, signatures=SignatureCheck(registry.content, UNSIGNED)
    )
    async with asyncio.timeout(10):
        while not await other.check_next():
            pass
        assert (await waiting).status_code == 201


async def test_an_unknown_digest_is_refused(registry: Registry) -> None:
    await registry.gate.start()
    answer = await post_release(registry, "1.2.4", "0" * 64, "publish-nothing")
    assert answer.status_code == 404
    assert "upload the file first" in answer.json()["refusals"][0]["cure"]


async def test_an_upload_is_bounded_and_the_librarys(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.registry.api.PACKED_BYTES_MAX", 10)
    answer = await registry.http.post("/content", content=b"x" * 11, headers=token(LENA))
    assert (answer.status_code, answer.json()["refusals"][0]["field"]) == (413, "body")
    assert (await registry.http.post("/content", content=b"", headers=token(LENA))).status_code == 422
    assert (await registry.http.post("/content", content=b"x", headers=token(MIRA))).status_code == 403
    assert (await registry.http.post("/content", content=b"x")).status_code == 401


async def test_a_check_says_what_publish_would_and_stores_nothing(registry: Registry) -> None:
    await registry.publish()
    before = await registry.count("inbox")

    async def check(data: bytes) -> Any:
        answer = await registry.http.post("/releases/check", content=data, headers=token(MIRA))
        assert answer.status_code == 200
        return answer.json()

    good = await check(pack(files("1.3.0", earlier=("1.2.4",))))
    assert good == {"system": "auth-system", "version": "1.3.0", "change": "minor", "refusals": []}
    bad = await check(pack(files("1.3.0")))
    assert [refusal["field"] for refusal in bad["refusals"]] == ["CHANGELOG.md"]
    assert (await check(pack(files())))["refusals"] == []
    other_bytes = await check(pack(files(notes="Other bytes.")))
    assert [refusal["field"] for refusal in other_bytes["refusals"]] == ["package"]
    unreadable = await check(b"no archive")
    assert unreadable["system"] is None
    assert unreadable["refusals"][0]["cure"]
    assert await registry.count("inbox") == before
    assert await registry.count("releases") == 1


async def test_releases_are_read_by_everybody(registry: Registry) -> None:
    await registry.publish()
    await registry.publish(files("1.10.0", earlier=("1.2.4",), notes="Restart it."))
    answer = await registry.http.post(
        "/releases/auth-system/1.2.4/withdraw", json={"reason": "Slow."}, headers=token(LENA)
    )
    assert ReleaseWithdrawn.model_validate(answer.json()).release.withdrawn == "Slow."

    async def versions(**query: str) -> list[str]:
        answer = await registry.http.get("/releases", params=query, headers=token(MIRA))
        return [release["version"] for release in answer.json()]

    assert await versions() == ["1.10.0", "1.2.4"]
    assert await versions(system="auth-system", withdrawn="false") == ["1.10.0"]
    assert await versions(withdrawn="true") == ["1.2.4"]
    assert await versions(system="quote-engine") == []
    page = (await registry.http.get("/releases/auth-system/1.10.0", headers=token(MIRA))).json()
    assert (page["changelog"], page["migration_notes"]) == ("- What changed.", "Restart it.")
    missing = await registry.http.get("/releases/auth-system/9.9.9", headers=token(MIRA))
    assert missing.status_code == 404


async def test_projects_and_maps_are_read_by_who_may_see_them(registry: Registry) -> None:
    await registry.publish()
    body = {"project": project().model_dump(mode="json", by_alias=True), "pins": PINS}
    answer = await registry.http.post("/projects", json=body, headers=token(MIRA))
    assert answer.status_code == 201
    await registry.register(project("other-portal"))

    async def read(path: str, who: Actor) -> Any:
        answer = await registry.http.get(path, headers=token(who))
        return answer.json() if answer.status_code == 200 else answer.status_code

    for who, seen in ((MIRA, ["acme-portal"]), (PAT, ["other-portal"]), (LENA, [])):
        assert [row["project"]["id"] for row in await read("/projects", who)] == seen
    assert len(await read("/projects", SAM)) == 2
    state = await read("/projects/acme-portal", MIRA)
    assert (state["revision"], state["version_map"]["pins"]) == (1, PINS)
    assert (await read("/version-maps/acme-portal", MIRA))["revision"] == 1
    (row,) = await read("/version-maps/acme-portal/history", MIRA)
    assert (row["event"], row["version_map"]["pins"]) == ("VersionMapRecorded", PINS)
    for path in ("/projects/", "/version-maps/"):
        assert await read(f"{path}acme-portal", PAT) == 404
        assert await read(f"{path}unknown-portal", SAM) == 404
    assert await read("/version-maps/unknown-portal/history", SAM) == 404


async def test_a_page_has_as_many_large_rows_as_it_has_room_for(registry: Registry) -> None:
    """Two hundred of the largest registrations and version maps, read at once, held everybody up."""
    await registry.publish()
    for name in ("a-portal", "b-portal", "c-portal"):
        await registry.register(project(name))
    async with registry.database.transaction() as tx:
        for table, column, key in (
            ("projects", "registered", "id"),
            ("version_map_history", "event", "project"),
        ):
            # Spaces, which JSON allows, are as good as what means something.
            large = f"({column}::text || repeat(' ', 600000))::json"
            await tx.fetch(f"update {table} set {column} = {large} where {key} <> 'a-portal'")
        await tx.fetch(
            "insert into version_map_history select project, revision + 1, event_type, event, happened_at"
            " from version_map_history where project = 'b-portal'"
        )
    pages = await _pages(registry, "/projects")
    assert [[each["project"]["id"] for each in page] for page in pages] == [
        ["a-portal", "b-portal"],
        ["c-portal"],
    ]
    history = await _pages(registry, "/version-maps/b-portal/history")
    assert [len(page) for page in history] == [1, 1]


async def _pages(registry: Registry, path: str) -> list[list[Any]]:
    pages: list[list[Any]] = []
    query = ""
    while True:
        answer = await registry.http.get(f"{path}{query}", headers=token(SAM))
        assert answer.status_code == 200
        pages.append(answer.json())
        if "next" not in answer.links:
            return pages
        query = answer.links["next"]["url"]
