"""Which release of a System a repository's files were installed from. Pure."""

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
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
    edited_lines: int

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
        return f"{self.system}: {self.version}, {', '.join(drift) or 'every file as it was published'}"


@dataclass(frozen=True)
class Elsewhere:
    """A System whose files lie in another folder than where upgrades look for them."""

    system: SystemName
    folder: str


def folder_of(system: SystemName) -> str:
    """Where a System is installed."""
    return f"systems/{system}/"


def compare(package: Package, files: Files) -> Base:
    """The package's files against the repository's."""
    folder = folder_of(package.system)
    theirs = {folder + path: data for path, (_, data) in package.files.items()}
    edited = [path for path, data in theirs.items() if path in files and files[path] != data]
    return Base(
        system=package.system,
        version=package.manifest.version,
        same=sum(files.get(path) == data for path, data in theirs.items()),
        edited=tuple(sorted(edited)),
        missing=tuple(sorted(theirs.keys() - files.keys())),
        added=tuple(sorted(path for path in files if path.startswith(folder) and path not in theirs)),
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


def elsewhere(package: Package, files: Files) -> Elsewhere | None:
    """The folder that has most of a System's files, when that is not its own."""
    by_digest: dict[bytes, list[str]] = {}
    for path, data in files.items():
        by_digest.setdefault(_digest(data), []).append(path)
    votes: dict[str, int] = {}
    # A file of next to nothing is like many another.
    telling = {path: data for path, (_, data) in package.files.items() if len(data) > 40}
    for path, data in telling.items():
        for there in by_digest.get(_digest(data), ()):
            if there.endswith("/" + path):
                folder = there.removesuffix(path)
                votes[folder] = votes.get(folder, 0) + 1
    most = max(votes, key=lambda folder: votes[folder], default=None)
    if most is None or votes[most] * 2 < len(telling):
        return None
    return Elsewhere(package.system, most)


def _changed_lines(one: bytes, other: bytes) -> int:
    before, after = one.splitlines(), other.splitlines()
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    return sum(max(b - a, d - c) for kind, a, b, c, d in matcher.get_opcodes() if kind != "equal")


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
