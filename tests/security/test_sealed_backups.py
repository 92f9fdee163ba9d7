"""Whoever reads the backup store reads no row, and nobody restores other bytes than those that were kept."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.executor.clients.backup_keys import BackupKeys, UnusableBackupKey, new_key
from services.executor.clients.backup_places import place_of
from services.executor.clients.backup_store import BackupStore
from services.executor.clients.sealed_file import Damaged, NotOpened, seal, unseal
from services.executor.settings import ExecutorSettings
from shared.clients.content import ContentStore
from shared.clients.secrets import Secrets
from shared.contracts.projects import Project
from shared.contracts.stages import RunExecutorStage
from shared.errors import Failure
from shared.plaintext import Plaintext
from tests.support.backups import KEYS, backups
from tests.support.golden_messages import GOLDEN
from tests.support.keys import PUBLIC_KEYS
from tests.support.proofs import key_settings
from tests.support.scopes import variable

DUMP = b"PGDMP" + os.urandom(200_000) + b"ann@x.example"
CHUNK = 64 * 1024 + 16


@pytest.fixture
def project() -> Project:
    return RunExecutorStage.read((GOLDEN / "RunExecutorStage.v1.json").read_bytes()).project


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain.dump"
    path.write_bytes(DUMP)
    return path


@pytest.fixture
def open_mask() -> Iterator[None]:
    before = os.umask(0o000)
    yield
    os.umask(before)


async def kept(store: BackupStore, project: Project, plain: Path) -> str:
    sealed = plain.with_suffix(".sealed")
    found = await store.seal(project, plain, sealed)
    return await store.put(sealed) if found else ""


@pytest.mark.usefixtures("open_mask")
async def test_what_is_stored_is_its_owners_alone_and_shows_no_byte_of_a_row(
    tmp_path: Path, plain: Path, project: Project
) -> None:
    """Catches a dump kept as it is, and modes that hang on the mask or on folders that were there before."""
    (tmp_path / "store" / "sha256").mkdir(parents=True, mode=0o777)
    store = backups((tmp_path / "store").as_uri())
    digest = await kept(store, project, plain)
    target = tmp_path / "again.dump"
    await store.fetch(project, digest, target)
    assert target.read_bytes() == DUMP
    (file,) = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert (file.name, b"ann@x.example" in file.read_bytes(), b"PGDMP" in file.read_bytes()) == (
        digest,
        False,
        False,
    )
    for path in (file, target, *file.parents[:2]):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def _cut(data: bytes) -> bytes:
    return data[:-1]


def _cut_at_a_chunk(data: bytes) -> bytes:
    return data[: len(data) - (len(data) % CHUNK) - CHUNK]


def _reordered(data: bytes) -> bytes:
    body = len(data) - len(DUMP) - 16 * (len(DUMP) // 65536 + 1)
    first, second = data[body : body + CHUNK], data[body + CHUNK : body + 2 * CHUNK]
    return data[:body] + second + first + data[body + 2 * CHUNK :]


def _flipped(data: bytes) -> bytes:
    return data[:-20_000] + bytes([data[-20_000] ^ 1]) + data[-19_999:]


def _longer(data: bytes) -> bytes:
    return data + data[-CHUNK:]


_MANIPULATIONS: tuple[Callable[[bytes], bytes], ...] = (
    _cut, _cut_at_a_chunk, _reordered, _flipped, _longer, lambda data: b"", lambda data: data[:40]
)  # fmt: skip


@pytest.mark.parametrize("change", _MANIPULATIONS)
def test_other_bytes_do_not_open_and_leave_nothing(
    tmp_path: Path, plain: Path, change: Callable[[bytes], bytes]
) -> None:
    """age alone finds it, also where whoever changed the file could change the digest that we know."""
    sealed, target = tmp_path / "sealed", tmp_path / "target"
    seal(plain, sealed, KEYS)
    changed = change(sealed.read_bytes())
    assert changed != sealed.read_bytes()
    sealed.write_bytes(changed)
    with pytest.raises(Damaged):
        unseal(sealed, target, KEYS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.dump", "sealed"]


def _older(plain: Path) -> Path:
    plain.write_bytes(b"PGDMP older")
    return plain


async def test_bytes_of_another_backup_under_its_digest_are_not_restored(
    tmp_path: Path, plain: Path, project: Project
) -> None:
    """Whoever writes to the store puts an older backup, which opens well, in place of the one that counts."""
    store = backups((tmp_path / "store").as_uri())
    digest = await kept(store, project, plain)
    older = await kept(store, project, _older(plain))
    files = {path.name: path for path in (tmp_path / "store").rglob("*") if path.is_file()}
    files[older].replace(files[digest])
    with pytest.raises(Failure, match="does not open") as caught:
        await store.fetch(project, digest, tmp_path / "target")
    assert "Nothing was written" in caught.value.outcome.findings[0].detail
    assert not (tmp_path / "target").exists()


async def test_a_lost_key_is_named_before_anything_relies_on_it(
    tmp_path: Path, plain: Path, project: Project
) -> None:
    public = KEYS.recipients[0]
    other = BackupKeys.read(public, new_key()[0])
    store = replace(backups((tmp_path / "store").as_uri()), keys=other)
    finding = await store.rehearse(project, tmp_path / "scratch")
    assert finding is not None
    assert public in finding.detail
    assert "UPGRADES_BACKUP_KEY" in finding.cure
    assert [each.subject for each in store.lacking(project)] == ["backup key"]
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()], "the sample is gone"
    assert await replace(store, keys=KEYS).rehearse(project, tmp_path / "scratch") is None
    with pytest.raises(Failure, match="no key for backups"):
        replace(store, keys=BackupKeys()).require_keys(project)


async def test_a_rotated_key_opens_old_backups_and_seals_no_new_ones(
    tmp_path: Path, plain: Path, project: Project
) -> None:
    old, new = new_key(), new_key()
    store = replace(backups(), keys=BackupKeys.read("", old[0]))
    digest = await kept(store, project, plain)
    both = replace(store, keys=BackupKeys.read("", f"# the new one\n{new[0]}\n{old[0]}\n"))
    assert both.keys.recipients == (new[1],)
    await both.fetch(project, digest, tmp_path / "target")
    with pytest.raises(Failure) as caught:
        await replace(store, keys=BackupKeys.read("", new[0])).fetch(project, digest, tmp_path / "other")
    assert old[1] in caught.value.outcome.findings[0].detail


async def test_a_projects_own_key_seals_for_nobody_else_and_opens_what_the_systems_has_sealed(
    tmp_path: Path, plain: Path, project: Project
) -> None:
    """Another Project's secrets, or the system's key, open nothing of it."""
    private, public = new_key()
    theirs = Secrets(None, {variable("other-portal", "production", "backup-key"): new_key()[0]})
    own = Secrets(None, {variable(project.id, "production", "backup-key"): private})
    system = backups()
    earlier = await kept(system, project, plain)
    store = replace(system, secrets=own)
    await store.fetch(project, earlier, tmp_path / "earlier")
    digest = await kept(store, project, plain)
    await store.fetch(project, digest, tmp_path / "target")
    for secrets in (theirs, Secrets(None, {})):
        with pytest.raises(Failure) as caught:
            await replace(store, secrets=secrets).fetch(project, digest, tmp_path / "others")
        assert public in caught.value.outcome.findings[0].detail


async def test_a_backup_of_before_is_restored_as_it_is(tmp_path: Path, project: Project) -> None:
    content = ContentStore("memory:///")
    digest = await content.put(DUMP)
    store = backups(earlier=content)
    await store.fetch(project, digest, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == DUMP
    await store.delete(digest)
    with pytest.raises(Failure, match="not kept any more") as caught:
        await store.fetch(project, digest, tmp_path / "gone")
    assert "without --restore-backup" in caught.value.outcome.findings[0].cure


def test_who_has_the_public_half_alone_seals_and_does_not_open(tmp_path: Path, plain: Path) -> None:
    writer = BackupKeys.read(KEYS.recipients[0])
    seal(plain, tmp_path / "sealed", writer)
    with pytest.raises(NotOpened, match="there is none here"):
        unseal(tmp_path / "sealed", tmp_path / "target", writer)
    assert unseal(tmp_path / "sealed", tmp_path / "target", KEYS)
    assert (tmp_path / "target").read_bytes() == DUMP


def settings(**given: str) -> ExecutorSettings:
    return ExecutorSettings.model_validate(
        {
            "database_url": "postgresql://localhost/x",
            "content_url": "s3://packages/all",
            "token_public_keys": PUBLIC_KEYS,
            "work_folder": "/tmp",
            **key_settings("executor"),
            **given,
        }
    )


def test_settings_are_known_to_be_wrong_at_the_start_and_show_no_key() -> None:
    private = new_key()[0]
    for given in ({"backup_key": private + "X"}, {"backup_key": "/nowhere"}, {"backup_recipients": "age1zz"},
                  {"backup_store_options": '{"aws_secret_access_key": 7}'},
                  {"backup_store_options": f"not {private}"}):  # fmt: skip
        with pytest.raises(ValueError, match=r"(?i)backup") as caught:
            settings(**given)
        assert private[:30] not in str(caught.value)
        assert "AGE-SECRET" not in repr(caught.value)
    with pytest.raises((Plaintext, ValueError), match="UPGRADES_BACKUP_STORE"):
        settings(backup_store="http://minio.example/backups")
    taken = settings(backup_key=private, backup_store_options='{"aws_access_key_id": "other"}')
    assert taken.backup_url == "s3://packages/all/backups"
    assert taken.backup_options == {"aws_access_key_id": "other"}
    assert private not in repr(taken) + str(taken.backup_keys)
    with pytest.raises(UnusableBackupKey):
        BackupKeys.read("", "AGE-SECRET-KEY-1NONSENSE")


async def test_a_changed_store_finds_the_backups_of_before(
    tmp_path: Path, plain: Path, project: Project
) -> None:
    """By the place that was noted, by the default one, and by those that the settings name."""
    urls = {name: (tmp_path / name).as_uri() for name in ("before", "content/backups", "named", "now")}
    digests = {name: await kept(backups(url), project, _one(plain, name)) for name, url in urls.items()}
    given = settings(
        content_url=(tmp_path / "content").as_uri(),
        backup_store=urls["now"],
        backup_stores_before=f"{urls['named']}, {urls['now']}",
    )
    store = replace(backups(given.backup_url), place=place_of(given.backup_url), places=given.backup_places)
    for name, digest in digests.items():
        noted = urls[name] if name == "before" else None
        assert await store.has(digest, noted)
        await store.fetch(project, digest, tmp_path / "target", noted)
        assert (tmp_path / "target").read_bytes() == name.encode()
        await store.delete(digest, noted)
        assert not await store.has(digest, noted)
    with pytest.raises(ValueError, match="UPGRADES_BACKUP_STORES_BEFORE"):
        settings(backup_stores_before="/srv/backups")
    assert place_of("https://u:secret@host/c?sig=secret#x") == "https://host/c"


def _one(plain: Path, name: str) -> Path:
    path = plain.with_name(name.replace("/", "-") + ".dump")
    path.write_bytes(name.encode())
    return path


async def test_a_projects_key_is_no_path(tmp_path: Path, project: Project) -> None:
    """A partner chooses that text: it must not make the executor read a file, or wait for a pipe."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "system.key").write_text(new_key()[0])
    for name in ("pipe", "system.key"):
        for secret in ("backup-key", "backup-recipients"):
            own = Secrets(None, {variable(project.id, "production", secret): str(tmp_path / name)})
            with pytest.raises(Failure) as caught:
                replace(backups(), secrets=own).require_keys(project)
            assert "one of age's" in caught.value.outcome.findings[0].detail
