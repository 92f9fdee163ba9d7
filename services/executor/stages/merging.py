"""Systems merged three-way into a Project's tree.

Base is the old package as it was published, ours the Project, theirs the new package. A package installs
`systems/<name>/`, its part of the schema (`prisma/schema/<name>.prisma`, unless the Project
keeps it elsewhere) and, key by key, `config/<name>.toml`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from services.executor.clients.reading import read_in_child
from services.executor.stages.config_merge import UnreadableConfig, merge_config
from services.executor.stages.path_clashes import require_no_clash
from services.executor.stages.tools import Packages
from shared.clients.git import Entry, Git, Labels
from shared.clients.git_attributes import Unconvertible
from shared.clients.git_merge import Conflict, Merge, hunks
from shared.clients.line_ends import with_ends_of, with_unix_ends
from shared.contracts.facts import ConfigChange, FileChange
from shared.contracts.projects import PrismaPaths, ProjectDefinition
from shared.contracts.stages import Finding
from shared.contracts.values import SystemName
from shared.declarations import parse_toml
from shared.errors import Failure, Reject
from shared.packages.globs import matched
from shared.packages.package import MANIFEST, Package
from shared.prisma.three_way import merge_fragment


@dataclass(frozen=True)
class Merged:
    """One System merged. With conflicts, the markers are in the tree."""

    tree: str
    conflicts: tuple[Conflict, ...]
    config: tuple[ConfigChange, ...]


@dataclass(frozen=True)
class MergedAll:
    """Every System merged, one after the other; `trees` are the steps between."""

    trees: tuple[str, ...]
    conflicts: tuple[tuple[SystemName, Conflict], ...]
    config: tuple[ConfigChange, ...]

    @property
    def tree(self) -> str:
        return self.trees[-1]


def config_path(system: SystemName) -> str:
    """Where a System's configuration is."""
    return f"config/{system}.toml"


async def merge_all(
    git: Git, tree: str, upgrades: Sequence[Packages], project: ProjectDefinition
) -> MergedAll:
    """Merge every upgrade into `tree`, also after one that conflicts: all conflicts are told at once."""
    trees: list[str] = []
    conflicts: list[tuple[SystemName, Conflict]] = []
    config: list[ConfigChange] = []
    for packages in upgrades:
        merged = await merge_system(git, tree, packages, project)
        tree = merged.tree
        trees.append(tree)
        conflicts += [(packages.upgrade.system, conflict) for conflict in merged.conflicts]
        config += merged.config
    return MergedAll(tuple(trees), tuple(conflicts), tuple(config))


async def merge_system(git: Git, tree: str, packages: Packages, project: ProjectDefinition) -> Merged:
    """Merge one System.

    Raises `Failure` for a configuration file that cannot be read, and for files that fall together.
    """
    system = packages.upgrade.system
    fragment = project.prisma.fragment(system)
    old = await installed(git, tree, packages.old, fragment)
    new = await installed(git, tree, packages.new, fragment)
    removed = packages.upgrade.to_version is None
    if removed:
        # Its tables stay, and so does what describes and masks them.
        old.pop(fragment, None)
    # What is never merged is the same on all three sides, so there is nothing to decide.
    imposed = {path: new.get(path) for path in await _overwritten(packages, old.keys() | new.keys())}
    schema = [] if removed else await git.paths(tree, fragment)
    gone: dict[str, Entry | None] = dict.fromkeys([*await git.paths(tree, f"systems/{system}"), *schema])
    base = await git.tree_with(tree, {**gone, **old, **imposed})
    theirs = await git.tree_with(tree, {**gone, **new})
    ours = await git.tree_with(tree, imposed)
    labels = Labels(ours=project.id, theirs=f"{system}-{packages.target}")
    merge = await git.merge(base, ours, theirs, labels)
    if not removed:
        merge = await _with_fragment(git, merge, fragment, (base, ours, theirs), labels)
    await require_no_clash(git, merge.tree, new.keys() - old.keys(), packages)

    path = config_path(system)
    text = await _text(git, tree, path)
    try:
        defaults = packages.old.manifest.config, packages.new.manifest.config
        config = await read_in_child(path, merge_config, system, text, *defaults)
    except UnreadableConfig as error:
        raise _unreadable(path, str(error)) from None
    changes: dict[str, bytes | None] = {}
    if config.text is not None and config.text != text:
        left = not removed or await _values(path, config.text)
        changes = {path: config.text.encode() if left else None}
    merged = await git.tree_with(merge.tree, changes) if changes else merge.tree
    return Merged(merged, merge.conflicts, config.changes)


async def _with_fragment(
    git: Git, merge: Merge, path: str, trees: tuple[str, str, str], labels: Labels
) -> Merge:
    """The merge with the schema fragment merged field by field, where all three trees have a readable one."""
    sides = [await git.show(tree, path) for tree in trees]
    base, ours, theirs = sides
    if base is None or ours is None or theirs is None:
        return merge
    try:
        texts = [with_unix_ends(data).decode() for data in (base, ours, theirs)]
    except UnicodeDecodeError:
        return merge
    sides_of = (labels.ours, labels.theirs)
    fragment = await read_in_child(path, merge_fragment, texts[0], texts[1], texts[2], sides_of)
    if fragment is None:
        return merge
    data = with_ends_of(fragment.text.encode(), base, ours, theirs)
    if data is None:
        return merge
    others = tuple(conflict for conflict in merge.conflicts if conflict.path != path)
    disputed = Conflict(path, ", ".join(fragment.conflicts), hunks(data))
    conflicts = (*others, disputed) if fragment.conflicts else others
    return Merge(await git.tree_with(merge.tree, {path: data}), conflicts)


async def installed(git: Git, tree: str, package: Package, fragment: str) -> dict[str, Entry]:
    """A package's pristine files as the Project's own Git would commit them, kept in the clone.

    Its part of the schema lies at `fragment`. The `.gitattributes` of `tree` say how: with which line ends,
    in which encoding. Raises `Failure` for a file that is not in that encoding.
    """
    files = {f"systems/{package.system}/{path}": file for path, file in package.files.items()}
    if package.schema:
        files[fragment] = ("100644", package.schema.encode())
    try:
        blobs = await git.as_committed(tree, {path: data for path, (_, data) in files.items()})
    except Unconvertible as error:
        finding = Finding(
            kind="project-file",
            subject=".gitattributes",
            detail=f"Git cannot commit the files of {package.system} {package.manifest.version}: {error}",
            cure="take them out of what .gitattributes says of encodings, push, and try again",
        )
        raise Failure(f"the files of {package.system} do not fit .gitattributes", finding) from None
    return {path: Entry(mode, blobs[path]) for path, (mode, _) in files.items()}


async def file_changes(
    git: Git,
    before: str,
    after: str,
    upgrades: Sequence[Packages],
    disputes: Mapping[str, str],
    prisma: PrismaPaths,
) -> tuple[FileChange, ...]:
    """Every file that differs between two trees, or that conflicts, with who had edited it before.

    `disputes` says for each path in conflict what it is about.
    """
    pristine: dict[str, Entry] = {}
    edited: set[str] = set()
    prefixes: list[str] = []
    for packages in upgrades:
        system = packages.upgrade.system
        pristine |= await installed(git, before, packages.old, prisma.fragment(system))
        prefixes += [f"systems/{system}/", prisma.fragment(system)]
        text = await _text(git, before, config_path(system))
        if text is not None and await _values(config_path(system), text) != packages.old.manifest.config:
            edited.add(config_path(system))
    present, touched = await git.paths(before), await git.changed(before, after)
    # What is in conflict and was not changed is as it was.
    result = {path: present.get(path) for path in disputes} | {
        path: now for path, (_, now) in touched.items()
    }
    for path in result:
        if path.startswith(tuple(prefixes)) and present.get(path) != pristine.get(path):
            edited.add(path)
    return tuple(
        FileChange(
            path=path,
            change="added" if path not in present else "deleted" if now is None else "changed",
            partner_edited=path in edited,
            conflict=path in disputes,
            dispute=disputes.get(path, ""),
        )
        for path, now in sorted(result.items())
    )


async def _overwritten(packages: Packages, paths: Iterable[str]) -> list[str]:
    """The paths among these that the new package never merges."""
    patterns = packages.new.manifest.files.overwrite
    if not patterns:
        return []
    folder = f"systems/{packages.upgrade.system}/"
    within = {path: path.removeprefix(folder) for path in paths}
    subject = f"{MANIFEST} of {packages.upgrade.system}"
    found = await read_in_child(subject, matched, patterns, list(within.values()))
    return [path for path, name in within.items() if name in found]


async def _values(path: str, text: str) -> dict[str, Any]:
    try:
        return await read_in_child(path, partial(parse_toml, text, file=path, nul=True))
    except Reject as rejected:
        raise _unreadable(path, str(rejected)) from None


async def _text(git: Git, tree: str, path: str) -> str | None:
    data = await git.show(tree, path)
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError as error:
        raise _unreadable(path, str(error)) from None


def _unreadable(path: str, detail: str) -> Failure:
    finding = Finding(
        kind="project-file", subject=path, detail=detail, cure="correct the TOML, push, and try again"
    )
    return Failure(f"{path} cannot be read", finding)


def changed_files(packages: Packages) -> Mapping[str, tuple[bytes | None, bytes | None]]:
    """The files that the new package has otherwise than the old, by their path under files/."""
    old = {path: data for path, (_, data) in packages.old.files.items()}
    new = {path: data for path, (_, data) in packages.new.files.items()}
    return {
        path: (old.get(path), new.get(path))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    }
