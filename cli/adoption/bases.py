"""Which release of a System a repository's files were installed from. Pure."""

import difflib
import hashlib
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.contracts.values import SystemName, Version
from shared.packages.package import Package
from shared.versions import newest_first

Files = Mapping[str, bytes]
"""The repository's files by their path from the root."""


@dataclass(frozen=True)
class Base:
    """One release against the files that are there; paths are from the repository's root."""

    system: SystemName
    version: Version
    same: int
    edited: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    """What the partner has put beside the System's files: no drift of the base."""
    line_ends: int
    """Of the same files, how many differ in their line ends alone."""
    edited_lines: int
    signed: bool = True
    """The release has the Library's signature."""

    @property
    def exact(self) -> bool:
        return not self.edited and not self.missing

    @property
    def likeness(self) -> tuple[int, int, int]:
        """Greater is more alike."""
        return (-len(self.missing), -self.edited_lines, self.same)

    def __str__(self) -> str:
        drift = [
            f"{len(paths)} {'file' if len(paths) == 1 else 'files'} {what}"
            for paths, what in ((self.edited, "edited by you"), (self.missing, "missing"))
            if paths
        ]
        if self.line_ends:
            drift.append(f"{self.line_ends} with other line ends")
        return f"{self.system}: {self.version}, {', '.join(drift) or 'every file as it was published'}"


@dataclass(frozen=True)
class Elsewhere:
    """A System whose files lie in another folder than where upgrades look for them."""

    system: SystemName
    folder: str
    """With its slash; empty for the repository's root."""
    paths: tuple[str, ...]
    """The System's files there, from that folder."""
    alone: bool
    """Nothing else lies in that folder."""

    @property
    def moves(self) -> str:
        """The commands that put them where they belong; nothing else is moved."""
        target = folder_of(self.system)
        if self.alone and self.folder and not target.startswith(self.folder):
            return f"mkdir -p systems && git mv {shlex.quote(self.folder.rstrip('/'))} {target.rstrip('/')}"
        by_folder: dict[str, list[str]] = {}
        for path in self.paths:
            below, _, _ = path.rpartition("/")
            by_folder.setdefault(f"{target}{below}/" if below else target, []).append(self.folder + path)
        return " && ".join(
            f"mkdir -p {shlex.quote(there)} && git mv {shlex.join(paths)} {shlex.quote(there)}"
            for there, paths in sorted(by_folder.items())
        )


def folder_of(system: SystemName) -> str:
    """Where a System is installed."""
    return f"systems/{system}/"


def compare(package: Package, files: Files) -> Base:
    """The package's files against the repository's."""
    folder = folder_of(package.system)
    theirs = {folder + path: data for path, (_, data) in package.files.items()}
    there = {path: data for path, data in theirs.items() if path in files}
    edited = [path for path, data in there.items() if not _same(files[path], data)]
    return Base(
        system=package.system,
        version=package.manifest.version,
        same=len(there) - len(edited),
        edited=tuple(sorted(edited)),
        missing=tuple(sorted(theirs.keys() - files.keys())),
        added=tuple(sorted(path for path in files if path.startswith(folder) and path not in theirs)),
        line_ends=sum(files[path] != data for path, data in there.items()) - len(edited),
        edited_lines=sum(_changed_lines(theirs[path], files[path]) for path in edited),
    )


def is_there(system: SystemName, files: Files) -> bool:
    """Whether anything stands where the System would be installed."""
    return any(path.startswith(folder_of(system)) for path in files)


def candidates(packages: Iterable[Package], files: Files) -> list[Base]:
    """Every release against the files, the most alike first, of equals the newest."""
    bases = {package.manifest.version: compare(package, files) for package in packages}
    newest = [bases[version] for version in newest_first(bases)]
    return sorted(newest, key=lambda base: base.likeness, reverse=True)


def certain(found: Sequence[Base]) -> Base | None:
    """The one release whose every file is there unchanged; none when there is none, or another such."""
    exact = [base for base in found if base.exact]
    return exact[0] if len(exact) == 1 else None


def elsewhere(
    package: Package, files: Files, systems: Collection[SystemName] = (), of_others: Collection[bytes] = ()
) -> Elsewhere | None:
    """The folder that has most of a System's files, when that is not its own.

    What lies in the folder of one of `systems` is that one's; `of_others` are digests of files that other
    Systems have too, and that tell nothing.
    """
    taken = tuple(folder_of(system) for system in systems)
    by_digest: dict[bytes, list[str]] = {}
    for path, data in files.items():
        if not path.startswith(taken):
            by_digest.setdefault(digest_of(data), []).append(path)
    published = {path: digest_of(data) for path, (_, data) in package.files.items()}
    # A file of next to nothing is like many another.
    telling = {
        path: published[path]
        for path, (_, data) in package.files.items()
        if len(data) > 40 and published[path] not in of_others
    }
    votes: dict[str, int] = {}
    for path, digest in telling.items():
        for there in by_digest.get(digest, ()):
            if there == path or there.endswith("/" + path):
                folder = there.removesuffix(path)
                votes[folder] = votes.get(folder, 0) + 1
    most = max(votes, key=lambda folder: votes[folder], default=None)
    if most is None or votes[most] * 2 < len(telling):
        return None
    paths = tuple(path for path in sorted(published) if most + path in files)
    below = {path for path in files if path.startswith(most)}
    return Elsewhere(package.system, most, paths, alone=below == {most + path for path in paths})


def digests_of(package: Package) -> frozenset[bytes]:
    """Of every file that it installs."""
    return frozenset(digest_of(data) for _, data in package.files.values())


def digest_of(data: bytes) -> bytes:
    """The file without regard to its line ends."""
    return hashlib.sha256(_one_line_end(data)).digest()


def _same(one: bytes, other: bytes) -> bool:
    return one == other or _one_line_end(one) == _one_line_end(other)


def _one_line_end(data: bytes) -> bytes:
    """Git may have changed a text's line ends; what has a NUL is no text."""
    return data if b"\0" in data else data.replace(b"\r\n", b"\n")


def _changed_lines(one: bytes, other: bytes) -> int:
    before, after = one.splitlines(), other.splitlines()
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    return sum(max(b - a, d - c) for kind, a, b, c, d in matcher.get_opcodes() if kind != "equal")
