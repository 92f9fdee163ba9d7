"""A Project's `.gitattributes`, where Git looks for them: in a work tree that holds nothing else.

A bare repository has no work tree, so Git would see at most the file at the root, and in some commands none.
"""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from shared.clients.git_command import git
from shared.clients.git_limits import require_paths
from shared.clients.git_objects import Listing, Objects

_FILE = ".gitattributes"
_REGULAR = ("100644", "100755")
_CONVERTS = re.compile(rb"\b(?:text|eol|crlf|ident|working-tree-encoding|binary)\b")
_FILTERS = re.compile(rb"\bfilter\b")


class Unconvertible(Exception):
    """Git would not commit a file as the attributes say; the text has its words."""


def attribute_files(listing: Listing) -> dict[str, str]:
    """Path to blob of every `.gitattributes` of a tree; one that is a link is none, as for Git."""
    return {
        path: entry.blob
        for path, entry in listing.files.items()
        if path.rpartition("/")[2] == _FILE and entry.mode in _REGULAR and _stays_inside(path)
    }


@asynccontextmanager
async def attributes_of(objects: Objects, tree: str) -> AsyncIterator[Path | None]:
    """A folder with the tree's `.gitattributes` for the time of a command; none if it has none.

    Raises `Failure` for paths that no folder takes.
    """
    files = await _contents(objects, tree)
    if not files:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="upgradepath-attributes-") as name:
        await asyncio.to_thread(_write, Path(name), files)
        yield Path(name)


async def as_committed(objects: Objects, tree: str, files: Mapping[str, bytes]) -> dict[str, str]:
    """Blobs of files as `git add` would make them in a checkout of `tree`: line ends, encoding, `$Id$`.

    No filter is run. Raises `Unconvertible` for a file that is not in the encoding that is named, `Failure`
    for paths that no folder takes.
    """
    attributes = await _contents(objects, tree)
    if not await asyncio.to_thread(_says, _CONVERTS, attributes):
        return dict(zip(files, await objects.write("blob", list(files.values())), strict=True))
    # These stand there as the tree has them, and decide about the others.
    plain = {path: data for path, data in files.items() if path in attributes or not path.isprintable()}
    converted = {path: data for path, data in files.items() if path not in plain}
    deciding = await asyncio.to_thread(_deciding, attributes, converted)
    with tempfile.TemporaryDirectory(prefix="upgradepath-attributes-") as name:
        await asyncio.to_thread(_write, Path(name), {**deciding, **converted})
        made = await git(
            objects.folder,
            *("hash-object", "-w", "--stdin-paths"),
            stdin="".join(f"{path}\n" for path in converted).encode(errors="surrogateescape"),
            work_tree=Path(name),
            accept=(0, 128),
        )
    if made.exit_code != 0:
        raise Unconvertible(made.output.strip())
    names = dict(zip(converted, made.stdout.decode().split(), strict=True))
    return names | dict(zip(plain, await objects.write("blob", list(plain.values())), strict=True))


async def filtered(objects: Objects, tree: str) -> dict[str, str]:
    """The files that a filter makes into something else in a checkout: path to the filter's name."""
    attributes = await _contents(objects, tree)
    if not await asyncio.to_thread(_says, _FILTERS, attributes):
        return {}
    paths = await asyncio.to_thread(_regular, await objects.listing(tree))
    with tempfile.TemporaryDirectory(prefix="upgradepath-index-") as name:
        index = {"GIT_INDEX_FILE": f"{name}/index"}
        await git(objects.folder, "read-tree", tree, variables=index)
        asked = await git(
            objects.folder,
            *("check-attr", "--cached", "-z", "--stdin", "filter"),
            stdin=paths,
            variables=index,
        )
    return await asyncio.to_thread(_named_filters, asked.stdout)


async def _contents(objects: Objects, tree: str) -> dict[str, bytes]:
    files = await asyncio.to_thread(attribute_files, await objects.listing(tree))
    blobs = await objects.blobs(list(files.values()))
    return {path: blobs[blob] for path, blob in files.items()}


def _says(words: re.Pattern[bytes], attributes: Mapping[str, bytes]) -> bool:
    return any(words.search(data) for data in attributes.values())


def _deciding(attributes: Mapping[str, bytes], converted: Mapping[str, bytes]) -> dict[str, bytes]:
    """The attributes that do not lie below a file which takes the place of their folder."""
    return {path: data for path, data in attributes.items() if not _above(path) & converted.keys()}


def _regular(listing: Listing) -> bytes:
    """The paths of files, as Git's programs read them."""
    paths = (path for path, entry in listing.files.items() if entry.mode in _REGULAR)
    return b"".join(path.encode(errors="surrogateescape") + b"\0" for path in paths)


def _named_filters(answer: bytes) -> dict[str, str]:
    fields = answer.decode(errors="surrogateescape").split("\0")
    named = zip(fields[0::3], fields[2::3], strict=False)
    return {path: value for path, value in named if value not in ("unspecified", "unset", "set")}


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    require_paths(files)
    for path, data in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _above(path: str) -> set[str]:
    """The folders that it lies in."""
    parts = path.split("/")
    return {"/".join(parts[:number]) for number in range(1, len(parts))}


def _stays_inside(path: str) -> bool:
    parts: Sequence[str] = path.split("/")
    return not {"", ".", "..", ".git"} & {part.lower() for part in parts}
