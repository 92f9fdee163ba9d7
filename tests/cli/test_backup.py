"""`upgradepath backup`: at three in the morning, with a file and a key and no service."""

import os
from pathlib import Path

from typer.testing import CliRunner

from cli.main import app
from services.executor.clients.backup_keys import BackupKeys
from services.executor.clients.sealed_file import seal


def ask(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["backup", *map(str, words)])
    assert done.exit_code == code, done.output
    return done.output


def test_a_backup_is_opened_by_hand_and_a_wrong_key_or_file_says_why(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        public = ask("key", "--out", tmp_path / "key").split()[0]
        ask("key", "--out", tmp_path / "other")
        (tmp_path / "plain").write_bytes(b"PGDMP rows")
        seal(tmp_path / "plain", tmp_path / "sealed", BackupKeys.read(public))
        ask("open", tmp_path / "sealed", "--key", tmp_path / "key", "--out", tmp_path / "dump")
    finally:
        os.umask(before)
    assert (tmp_path / "dump").read_bytes() == b"PGDMP rows"
    for name in ("key", "dump"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    again = ("open", tmp_path / "sealed", "--out", tmp_path / "again")
    assert public in ask(*again, "--key", tmp_path / "other", code=1)
    assert "backup key" in ask(*again, "--key", tmp_path / "plain", code=1)
    (tmp_path / "sealed").write_bytes((tmp_path / "sealed").read_bytes()[:-1])
    assert "damaged" in ask(*again, "--key", tmp_path / "key", code=1)
    assert "is there already" in ask("key", "--out", tmp_path / "key", code=1)
    assert "is there already" in ask(
        "open", tmp_path / "sealed", "--key", tmp_path / "key", "--out", tmp_path / "dump", code=1
    )
    assert not (tmp_path / "again").exists()
