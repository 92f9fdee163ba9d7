"""Each place of backups is opened with what opens it, and none that keeps a copy is passed over."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from services.executor.clients import backup_places
from services.executor.clients.backup_places import place_of
from services.executor.settings import ExecutorSettings
from shared.clients.content import ContentStore
from shared.contracts.values import Digest
from shared.errors import Retry
from tests.support.backups import backups
from tests.support.keys import PUBLIC_KEYS
from tests.support.proofs import key_settings

OPTIONS = {"aws_access_key_id": "backups"}
DEFAULT = "s3://content/backups"


class Bucket(ContentStore):
    """In memory. It refuses another bucket's credential as S3 does, even for what is not there."""

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        super().__init__("memory:///")
        own = {} if url.startswith("s3://content") else OPTIONS
        self._refusal = Retry("403 Forbidden") if dict(options or {}) != own else None

    async def has(self, digest: Digest) -> bool:
        if self._refusal:
            raise self._refusal
        return await super().has(digest)

    async def delete(self, digest: Digest) -> None:
        if self._refusal:
            raise self._refusal
        await super().delete(digest)


@pytest.mark.parametrize("before", ["", f"s3://old-backups,{DEFAULT}"])
@pytest.mark.parametrize("noted", [None, "s3://backups", DEFAULT, "s3://old-backups"])
async def test_a_store_with_a_credential_of_its_own_finishes_a_deletion(
    monkeypatch: pytest.MonkeyPatch, before: str, noted: str | None
) -> None:
    """Catches that credential being shown to the default place, which lies in the content store."""
    monkeypatch.setattr(backup_places, "ContentStore", Bucket)
    given = ExecutorSettings.model_validate(
        {
            "database_url": "postgresql://localhost/x",
            "content_url": "s3://content",
            "token_public_keys": PUBLIC_KEYS,
            "work_folder": "/tmp",
            **key_settings("executor"),
            "backup_store": "s3://backups",
            "backup_store_options": json.dumps(OPTIONS),
            "backup_stores_before": before,
        }
    )
    today = Bucket(given.backup_url, given.backup_options)
    store = replace(backups(), store=today, place=place_of(given.backup_url), places=given.backup_places)
    digest = await today.put(b"sealed")
    await store.delete(digest, noted)
    assert not await store.has(digest, noted)


async def test_a_copy_on_a_disk_that_is_away_is_not_called_deleted(tmp_path: Path) -> None:
    """Today's store has a copy too, so that `has` does not tell that the disk is away."""
    noted, today = ((tmp_path / name).as_uri() for name in ("disk", "today"))
    store = replace(backups(today), place=today)
    digest = await store.store.put(b"sealed")
    await ContentStore(noted).put(b"sealed")
    (tmp_path / "disk").rename(tmp_path / "away")
    (tmp_path / "disk").mkdir()
    assert await store.has(digest, noted)
    with pytest.raises(Retry, match="is its disk there"):
        await store.delete(digest, noted)
    assert await store.has(digest), "today's copy goes last"

    (tmp_path / "disk").rmdir()
    (tmp_path / "away").rename(tmp_path / "disk")
    for _ in range(2):
        await store.delete(digest, noted)
    assert not await store.has(digest, noted)
    assert not await ContentStore(noted).has(digest)
