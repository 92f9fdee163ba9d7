"""The tar.gz around a package. A stranger may have made it: nothing is written to a disk, all is bounded."""

import gzip
import io
import stat
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from shared.contracts.folding import folded_places
from shared.contracts.refusals import Refusal
from shared.errors import Reject, invalid
from shared.packages.gzip_layer import unpack
from shared.packages.names import Fault, clashes, fault, refusal
from shared.packages.tar_layer import DamagedTar, Entry, entries

PACKED_BYTES_MAX = 64 << 20
UNPACKED_BYTES_MAX = 256 << 20
FILE_BYTES_MAX = 32 << 20
MEMBERS_MAX = 10_000
_REFUSALS_MAX = 100
_LEFT_OUT = ("__pycache__", ".DS_Store")


@dataclass(frozen=True)
class Member:
    """One regular file."""

    data: bytes = field(repr=False)
    executable: bool


def read_archive(data: bytes) -> dict[str, Member]:
    """Every file by its path, sorted. Raises `Reject` for what is no archive, too big or unsafe."""
    members, refusals = open_archive(data)
    if refusals:
        raise Reject(*folded_places(refusals))
    return members


def open_archive(data: bytes) -> tuple[dict[str, Member], list[Refusal]]:
    """The files that are safe by their path, sorted, and what is wrong with the others.

    Raises `Reject` for what is no archive, or too big.
    """
    if len(data) > PACKED_BYTES_MAX:
        raise invalid(
            f"the archive has more than {PACKED_BYTES_MAX >> 20} MiB",
            field="package",
            cure="leave out what need not be installed",
        )
    unpacked = unpack(data, bytes_max=UNPACKED_BYTES_MAX)
    reading = _Reading()
    try:
        for entry in entries(unpacked):
            reading.take(entry, unpacked)
    except DamagedTar as error:
        raise invalid(
            f"the archive cannot be read: {error}", field="package", cure="pack it as tar.gz again"
        ) from None
    return reading.members(), reading.refusals()


class _Reading:
    """The members that were taken, and what is wrong with the others."""

    def __init__(self) -> None:
        self._entries = 0
        self._files: dict[str, Member] = {}
        self._folders: set[str] = set()
        self._refusals: list[Refusal] = []

    def take(self, entry: Entry, data: bytearray) -> None:
        self._entries += 1
        if self._entries > MEMBERS_MAX:
            raise invalid(
                f"the archive has more than {MEMBERS_MAX} members", field="package", cure="leave some out"
            )
        path = entry.path.removeprefix("./")
        if entry.kind == "folder":
            path = path.removesuffix("/")
            if path in ("", "."):
                return
        if (why := self._fault(entry, path)) is not None:
            self._refuse(path, why)
        elif entry.kind == "folder":
            self._folders.add(path)
        else:
            content = bytes(memoryview(data)[entry.start : entry.start + entry.size])
            self._files[path] = Member(content, entry.executable)

    def members(self) -> dict[str, Member]:
        return dict(sorted(self._files.items()))

    def refusals(self) -> list[Refusal]:
        found = [*self._refusals, *clashes(self._files, sorted(self._folders))]
        return found[:_REFUSALS_MAX]

    def _fault(self, entry: Entry, path: str) -> Fault | None:
        if entry.kind == "other":
            return (
                "only regular files may be in a package",
                "put a copy in place of a link; leave devices out",
            )
        if (why := fault(path)) is not None:
            return why
        if path in self._files:
            return "there are two files of this path", "keep one of them"
        if entry.size > FILE_BYTES_MAX:
            return f"a file has at most {FILE_BYTES_MAX >> 20} MiB", "leave it out, or make it smaller"
        return None

    def _refuse(self, path: str, why: Fault) -> None:
        if len(self._refusals) < _REFUSALS_MAX:
            self._refusals.append(refusal(path, why))


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
