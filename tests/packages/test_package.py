"""A sound package is read whole; whatever else a stranger may send is refused, never followed."""

import gzip
import hashlib
import os
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Reject
from shared.packages import archive
from shared.packages.archive import pack_folder
from shared.packages.package import read_package, versions_between
from tests.packages.package_files import a_package, archive_of, packed

INIT = "prisma/migrations/20260101000000_init"
STATUS = "prisma/migrations/20260301000000_user_status"


def refused(data: bytes) -> list[tuple[str | None, str]]:
    with pytest.raises(Reject) as rejected:
        read_package(data)
    assert all(refusal.cure for refusal in rejected.value.refusals)
    return [(refusal.field, refusal.reason) for refusal in rejected.value.refusals]


def test_a_sound_package_is_read_whole() -> None:
    manifest = """
breaking = ["sessions end"]
[requires]
notifications-system = ">=0.3,<0.4"
[config]
session_minutes = 30
[config.mail]
from = "a@b"
[files]
overwrite = ["static/**"]
[migrations]
contract = ["20260301000000_user_status"]
"""
    files = a_package(
        files={"signin.py": "x = 1\n", "static/logo.png": b"\x89PNG\x00"},
        manifest=manifest,
        more={
            f"{STATUS}/migration.sql": "ALTER TABLE users;\n",
            f"{INIT}/migration.sql": "CREATE TABLE users;\r\n",
            f"{INIT}/down.sql": "DROP TABLE users;",
        },
    )
    package = read_package(packed(files))
    assert package.manifest.config == {"session_minutes": 30, "mail": {"from": "a@b"}}
    assert package.changelog == {"1.3.0": "New things.", "0.0.1": "The first."}
    assert package.migration_notes == {"1.3.0": "", "0.0.1": ""}
    assert package.files["static/logo.png"] == ("100644", b"\x89PNG\x00")
    init, status = package.migrations
    assert (init.title, init.down_sql, status.down_sql) == ("init", "DROP TABLE users;", None)
    # Prisma compares the checksum of the very bytes, line ends included.
    assert init.checksum == hashlib.sha256(b"CREATE TABLE users;\r\n").hexdigest()
    assert [package.contracting(migration) for migration in package.migrations] == [False, True]


@given(
    st.dictionaries(
        # Letters that spell no device of Windows: con, prn, aux and nul are refused.
        st.from_regex(r"[a-m]{1,8}(/[a-m]{1,8}){0,2}\.[a-z]{1,3}", fullmatch=True),
        st.binary(),
        max_size=5,
    )
)
def test_packing_is_undone_by_reading_and_the_same_files_give_the_same_bytes(files: dict[str, bytes]) -> None:
    data = packed(a_package(files=files))
    assert {path: content for path, (_, content) in read_package(data).files.items()} == files
    assert packed(dict(reversed(a_package(files=files).items()))) == data


def test_a_migration_may_be_empty_as_prisma_leaves_it() -> None:
    """After `prisma migrate dev --create-only`; forgotten SQL shows where migrations must make the schema."""
    package = read_package(packed(a_package(more={f"{INIT}/migration.sql": ""})))
    (found,) = package.migrations
    assert (found.sql, found.checksum) == ("", hashlib.sha256(b"").hexdigest())


def test_packing_keeps_who_may_run_and_forgets_when_and_whose(tmp_path: Path) -> None:
    for path, content in a_package(files={"run.sh": "#!/bin/sh\n"}).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(str(content))
    (tmp_path / "files/run.sh").chmod(0o700)
    (tmp_path / "files/__pycache__").mkdir()
    (tmp_path / "files/__pycache__/x.pyc").write_bytes(b"x")
    first = pack_folder(tmp_path)
    os.utime(tmp_path / "files/run.sh", (1, 1))
    assert pack_folder(tmp_path) == first
    assert read_package(first).files == {"run.sh": ("100755", b"#!/bin/sh\n")}
    (tmp_path / "files/link").symlink_to("run.sh")
    with pytest.raises(Reject, match="no regular file"):
        pack_folder(tmp_path)


def test_every_mistake_is_told_at_once() -> None:
    files = a_package(
        manifest='colour = "red"\n[requires]\nauth-system = ">=1"\nother = "^1"\n',
        more={"CHANGELOG.md": "## 0.9\n## 1.0.0\n## 1.1.0\n", "setup.py": "", "MIGRATION.md": b"\xff"},
    )
    fields = [field for field, _ in refused(packed(files))]
    assert {
        "system.toml: colour",
        "system.toml: requires.other",
        "CHANGELOG.md line 1",
        "CHANGELOG.md",
        "MIGRATION.md",
        "setup.py",
    } <= set(fields)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"CHANGELOG.md": "## 1.2.0\nold\n", "MIGRATION.md": "## 1.2.0\n"}, "CHANGELOG.md"),
        ({"CHANGELOG.md": "## 1.3.0\n", "MIGRATION.md": "## 1.3.0\n"}, "CHANGELOG.md"),
        ({"MIGRATION.md": "## 1.3.0\n"}, "MIGRATION.md"),
        ({f"{INIT}/down.sql": "x"}, f"{INIT}/migration.sql"),
        ({"prisma/migrations/init/migration.sql": "x"}, "prisma/migrations/init"),
        ({f"{INIT}/migration.sql": "x", f"{INIT}/notes.txt": "x"}, f"{INIT}/notes.txt"),
        ({"system.toml": "name = "}, "system.toml"),
    ],
)
def test_each_mistake_names_its_place(more: dict[str, str], field: str) -> None:
    assert [where for where, _ in refused(packed(a_package(more=more)))] == [field]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../up",
        "files/../../up",
        "files//x",
        "files/a\\b",
        "files/.git/config",
        "files/.GIT",
        "a\nb",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    ((field, _),) = refused(archive_of(tarfile.TarInfo(path)))
    assert field == path.removeprefix("./")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE]
)
def test_whatever_is_no_file_is_refused(kind: bytes) -> None:
    member = tarfile.TarInfo("files/x")
    member.type, member.linkname = kind, "/etc/passwd"
    assert refused(archive_of(member)) == [("files/x", "only regular files may be in a package")]


def test_two_files_of_one_path_and_a_file_that_is_a_folder_are_refused() -> None:
    twice = archive_of(tarfile.TarInfo("files/x"), tarfile.TarInfo("./files/x"))
    assert refused(twice) == [("files/x", "there are two files of this path")]
    clash = archive_of(tarfile.TarInfo("files/x"), tarfile.TarInfo("files/x/y"))
    assert refused(clash) == [("files/x", "there is a file and a folder of this path")]


def test_a_name_that_is_no_text_is_refused() -> None:
    assert refused(archive_of(tarfile.TarInfo("files/\udcff"))) != []


def test_too_much_is_refused_before_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "UNPACKED_BYTES_MAX", 1 << 20)
    assert "more than 1 MiB" in refused(gzip.compress(bytes(3 << 20)))[0][1]
    monkeypatch.setattr(archive, "FILE_BYTES_MAX", 10)
    big = archive_of(tarfile.TarInfo("files/x"), content=bytes(11))
    assert [field for field, _ in refused(big)] == ["files/x"]
    monkeypatch.setattr(archive, "MEMBERS_MAX", 1)
    assert "members" in refused(archive_of(tarfile.TarInfo("a"), tarfile.TarInfo("b")))[0][1]


@given(st.binary(max_size=200))
def test_bytes_that_are_no_archive_are_refused(data: bytes) -> None:
    refused(data)
    refused(gzip.compress(data))


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_package_is_refused_or_read_but_never_an_error(at: int, byte: int) -> None:
    sound = gzip.decompress(packed(a_package(files={"x.py": "x = 1\n"})))
    damaged = bytearray(sound)
    damaged[at % len(sound)] = byte
    with suppress(Reject):
        read_package(gzip.compress(bytes(damaged)))


def test_versions_between_are_newest_first() -> None:
    headings = "".join(f"## {version}\nx\n" for version in ("1.3.0", "1.2.4", "1.2.0", "1.0.0"))
    files = a_package(more={"CHANGELOG.md": headings, "MIGRATION.md": headings})
    package = read_package(packed(files))
    assert versions_between(package, "1.2.0", "1.3.0") == ("1.3.0", "1.2.4")
    # Also from a version that the changelog does not name.
    assert versions_between(package, "1.1.0", "1.2.4") == ("1.2.4", "1.2.0")


def test_a_heading_inside_a_code_block_is_text() -> None:
    text = "## 1.3.0\n```\n## not a version\n```\n"
    files = a_package(more={"CHANGELOG.md": text, "MIGRATION.md": "## 1.3.0\n"})
    assert "not a version" in read_package(packed(files)).changelog["1.3.0"]


def test_the_folder_names_of_real_histories_are_taken_as_they_are() -> None:
    names = ["0_init", "20250101000000_init", "20250102000000_init", "20250103 Add Müller's (Table) & more"]
    package = read_package(
        packed(a_package(more={f"prisma/migrations/{n}/migration.sql": "x" for n in names}))
    )
    assert [(each.name, each.title) for each in package.migrations] == [
        ("0_init", "init"),
        ("20250101000000_init", "init"),
        ("20250102000000_init", "init"),
        ("20250103 Add Müller's (Table) & more", "Add Müller's (Table) & more"),
    ]


def test_a_keep_a_changelog_and_a_readme_are_taken() -> None:
    """Catches the headings and files that most publishers have being refused."""
    text = (
        "# Changelog\n\nAll notable changes.\n\n## [Unreleased]\n- Soon.\n\n"
        "## [1.3.0] - 2026-03-01\n### Added\n- New.\n"
        "\n## [1.2.4] - 2026-01-01 [YANKED]\n- Old.\n\n[1.3.0]: https://example.com/compare\n"
    )
    notes = "## 1.3.0\n\n## 1.2.4 \u2014 2026-01-01\n"
    files = a_package(more={"CHANGELOG.md": text, "MIGRATION.md": notes, "README.md": "# Read me\n"})
    package = read_package(packed(files))
    assert list(package.changelog) == ["1.3.0", "1.2.4"] == list(package.migration_notes)
    assert package.changelog["1.3.0"] == "### Added\n- New."
    assert package.files == {}


@pytest.mark.parametrize("heading", ["1.3", "Version 1.3.0", "[1.3.0] yesterday", "[1.3.0] - 2026-03-01 - 1"])
def test_one_wrong_heading_is_one_refusal(heading: str) -> None:
    """Catches a mistake that is told again as a missing version and as other headings."""
    headings = f"## {heading}\n- New.\n## 1.2.4\n- Old.\n"
    notes = "## 1.3.0\n## 1.2.4\n"
    found = refused(packed(a_package(more={"CHANGELOG.md": headings, "MIGRATION.md": notes})))
    assert found == [("CHANGELOG.md line 1", "this heading is no version")]
