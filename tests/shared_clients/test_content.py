"""What is kept under a digest is what comes back, or an error says why not."""

import hashlib
from pathlib import Path

import pytest

from shared.clients.content import ContentStore, Corrupted
from shared.errors import Reject

ABSENT = hashlib.sha256(b"absent").hexdigest()


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    return ContentStore("memory:///" if request.param == "memory" else (tmp_path / "a b").as_uri())


async def test_bytes_come_back_and_the_same_again_changes_nothing(store: ContentStore) -> None:
    digest = await store.put(b"data")
    assert digest == hashlib.sha256(b"data").hexdigest()
    assert await store.put(b"data") == digest
    assert await store.get(digest) == b"data"
    assert await store.has(digest)
    assert await store.get(await store.put(b"")) == b""


async def test_what_is_not_there_is_said_so(store: ContentStore, tmp_path: Path) -> None:
    assert not await store.has(ABSENT)
    with pytest.raises(Reject) as rejected:
        await store.get(ABSENT)
    assert (rejected.value.refusals[0].kind, rejected.value.refusals[0].value) == ("not-found", ABSENT)
    with pytest.raises(Reject):
        await store.get_to_file(ABSENT, tmp_path / "file")
    assert not (tmp_path / "file").exists()


async def test_files_go_both_ways(store: ContentStore, tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.write_bytes(b"0123456789" * 1_000_000)
    digest = await store.put_file(original)
    assert await store.put_file(original) == digest
    await store.get_to_file(digest, copy)
    assert copy.read_bytes() == original.read_bytes()
    assert not copy.with_name("copy.part").exists()


async def test_changed_bytes_are_noticed(tmp_path: Path) -> None:
    store = ContentStore(tmp_path.as_uri())
    digest = await store.put(b"data")
    (tmp_path / "sha256" / digest[:2] / digest).write_bytes(b"other")
    with pytest.raises(Corrupted):
        await store.get(digest)
    with pytest.raises(Corrupted):
        await store.get_to_file(digest, tmp_path / "file")
    assert not (tmp_path / "file").exists()


async def test_what_somebody_put_there_first_is_replaced(tmp_path: Path) -> None:
    """Would catch a pool that occupies the digest of a package, so that no other ever gets that package."""
    mine = ContentStore(tmp_path.as_uri())
    digest = await mine.put(b"package")
    for planted in (b"", b"other", b"packagE"):
        (tmp_path / "sha256" / digest[:2] / digest).write_bytes(planted)
        assert await mine.put(b"package") == digest
        assert await mine.get(digest) == b"package"


async def test_a_file_that_somebody_put_there_first_is_replaced(tmp_path: Path) -> None:
    """Would catch a large file, a backup for one, that is not kept because other bytes stand in its place."""
    store, original = ContentStore((tmp_path / "store").as_uri()), tmp_path / "original"
    original.write_bytes(b"0123456789" * 1_000_000)
    digest = await store.put_file(original)
    for planted in (b"", b"other", original.read_bytes()[:-1] + b"x"):
        (tmp_path / "store/sha256" / digest[:2] / digest).write_bytes(planted)
        assert await store.put_file(original) == digest
        assert await store.get(digest) == original.read_bytes()
