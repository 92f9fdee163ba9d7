"""The tar.gz around a package. A stranger may have made it: nothing is written to a disk, all is bounded."""

import gzip
import io
import re
import stat
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from shared.contracts.refusals import Refusal
from shared.errors import Reject, invalid

PACKED_BYTES_MAX = 64 << 20
UNPACKED_BYTES_MAX = 256 << 20
FILE_BYTES_MAX = 32 << 20
MEMBERS_MAX = 10_000
_PATH_CHARACTERS_MAX = 200
_CHUNK_BYTES = 1 << 20
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\:\ud800-\udfff]")
_GITS_OWN = re.compile(r"\.git[ .]*|git~[0-9]+", re.IGNORECASE)
_LEFT_OUT = ("__pycache__", ".DS_Store")


@dataclass(frozen=True)
class Member:
    """One regular file."""

    data: bytes = field(repr=False)
    executable: bool


def read_archive(data: bytes) -> dict[str, Member]:
    """Every file by its path, sorted. Raises `Reject` for what is no archive, too big or unsafe."""
    if len(data) > PACKED_BYTES_MAX:
        raise _too_big("the archive", PACKED_BYTES_MAX)
    members: dict[str, Member] = {}
    refusals: list[Refusal] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(_unpack(data)), mode="r:") as archive:
            for number, info in enumerate(archive):
                if number >= MEMBERS_MAX:
                    raise invalid(
                        f"the archive has more than {MEMBERS_MAX} members",
                        field="package",
                        cure="leave some out",
                    )
                _take(archive, info, members, refusals)
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise invalid(
            f"the archive cannot be read: {error}", field="package", cure="pack it as tar.gz again"
        ) from None
    refusals += _folders_that_are_files(members)
    if refusals:
        raise Reject(*refusals)
    return dict(sorted(members.items()))


def pack_folder(folder: Path) -> bytes:
    """Pack a folder as a package: the same files give the same bytes. Raises `Reject` for a link."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(folder.rglob("*"), key=lambda found: found.relative_to(folder).as_posix()):
            inside = path.relative_to(folder)
            if any(part in _LEFT_OUT for part in inside.parts):
                continue
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise invalid(
                    "this is no regular file", field=inside.as_posix(), cure="put a copy in its place"
                )
            content = path.read_bytes()
            info = tarfile.TarInfo(inside.as_posix())
            info.size = len(content)
            info.mode = 0o755 if mode & stat.S_IXUSR else 0o644
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def _unpack(data: bytes) -> bytes:
    """Decompress, but never more than may be."""
    unpacked = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as zipped:
            while chunk := zipped.read(_CHUNK_BYTES):
                unpacked += chunk
                if len(unpacked) > UNPACKED_BYTES_MAX:
                    raise _too_big("the unpacked archive", UNPACKED_BYTES_MAX)
    except (OSError, EOFError, zlib.error) as error:
        raise invalid(f"this is no gzip file: {error}", field="package", cure="pack it as tar.gz") from None
    return bytes(unpacked)


def _take(
    archive: tarfile.TarFile, info: tarfile.TarInfo, members: dict[str, Member], refusals: list[Refusal]
) -> None:
    path = info.name.removeprefix("./")
    if info.isdir():
        return
    shown = path.encode(errors="replace").decode()[:_PATH_CHARACTERS_MAX]
    problem = _problem(info, path, members)
    if problem is not None:
        reason, cure = problem
        refusals.append(Refusal(kind="invalid", reason=reason, field=shown, cure=cure))
        return
    file = archive.extractfile(info)
    content = b"" if file is None else file.read()
    if len(content) != info.size:
        raise EOFError(f"{shown} ends early")
    members[path] = Member(content, bool(info.mode & stat.S_IXUSR))


def _problem(info: tarfile.TarInfo, path: str, members: dict[str, Member]) -> tuple[str, str] | None:
    """Why a member is refused, and the cure."""
    parts = path.split("/")
    if not info.isreg() or info.issparse():
        return "only regular files may be in a package", "put a copy in place of a link; leave devices out"
    if _UNSAFE.search(path) or len(path) > _PATH_CHARACTERS_MAX:
        return (
            f"a path has at most {_PATH_CHARACTERS_MAX} UTF-8 characters: no backslash, colon or control",
            "rename the file",
        )
    if any(part in ("", ".", "..") for part in parts):
        return "a path leads from the archive's root down, without . or ..", "rename the file"
    if any(_GITS_OWN.fullmatch(part) for part in parts):
        return "a file of Git's own may not be in a package", "leave it out"
    if path in members:
        return "there are two files of this path", "keep one of them"
    if info.size > FILE_BYTES_MAX:
        return f"a file has at most {FILE_BYTES_MAX >> 20} MiB", "leave it out, or make it smaller"
    return None


def _folders_that_are_files(members: dict[str, Member]) -> list[Refusal]:
    reason, cure = "there is a file and a folder of this path", "rename one of them"
    clashing = {
        folder.as_posix() for path in members for folder in Path(path).parents if folder.as_posix() in members
    }
    return [Refusal(kind="invalid", reason=reason, field=path, cure=cure) for path in sorted(clashing)]


def _too_big(what: str, bytes_max: int) -> Reject:
    reason = f"{what} has more than {bytes_max >> 20} MiB"
    return invalid(reason, field="package", cure="leave out what need not be installed")
