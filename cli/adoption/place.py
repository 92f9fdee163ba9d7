"""Where a repository keeps Prisma's files: found, or as the maintainer says. Pure."""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from cli.adoption.prisma_config import Configured, read_configs
from services.executor.clients.prisma import read_models
from services.executor.stages.readiness import is_postgresql
from shared.contracts.projects import PrismaPaths
from shared.errors import Reject, conflict, invalid, not_found
from shared.project_file import PROJECT_FILE

_OTHERS = re.compile(r"(^|/)(node_modules|\.git)/|^systems/")
"""Below these nobody keeps a schema of the Project's own."""
_DATASOURCE = re.compile(r'datasource\s+\w+\s*\{[^{}]*?provider\s*+=\s*+"(?P<provider>\w+)"', re.DOTALL)
_HASHED = re.compile(rb'"\w*[hH]ash"\s*:')
"""A contract names itself and its storage by their hashes."""


@dataclass(frozen=True)
class Place:
    """`paths` as the Project file shall name them, and the files that are the schema now."""

    paths: PrismaPaths
    schema: Mapping[str, str]
    """Texts by path."""

    @property
    def folder(self) -> str:
        """What `--prisma` takes."""
        return posixpath.dirname(self.paths.migrations) or "."


def find_place(files: Mapping[str, bytes], wanted: str | None, declared: PrismaPaths | None) -> Place:
    """The one Prisma project of the repository, or the one at `wanted`. Raises `Reject`.

    `declared` is what the Project file says, where there is one.
    """
    if declared is not None:
        return _declared(files, wanted, declared)
    found = [place for place in _places(files) if wanted is None or _is_at(place, wanted)]
    if len(found) > 1:
        found = [place for place in found if _for_postgresql(files, place)] or found
    if len(found) == 1:
        _require_its_own(files, found[0])
        return found[0]
    if not found:
        raise _none(files, wanted)
    listed = ", ".join(place.folder for place in found)
    raise conflict(
        f"the repository has {len(found)} Prisma projects: {listed}",
        field="--prisma",
        value=wanted,
        cure=f"say which one production runs with: --prisma {found[0].folder}",
    )


def _declared(files: Mapping[str, bytes], wanted: str | None, declared: PrismaPaths) -> Place:
    schema = _texts(files, [path for path in files if declared.is_schema(path)])
    place = Place(declared, schema)
    if wanted is not None and not _is_at(place, wanted):
        raise conflict(
            f"{PROJECT_FILE} says that Prisma's files are in {place.folder}",
            field="--prisma",
            value=wanted,
            cure=f"leave --prisma out, or correct [prisma] in {PROJECT_FILE} and push",
        )
    if not schema or not any(path.startswith(f"{declared.migrations}/") for path in files):
        raise not_found(
            f"{declared.schemas} has no schema, or {declared.migrations} no migrations",
            field="prisma",
            cure=f"correct [prisma] in {PROJECT_FILE}, and push",
        )
    _require_its_own(files, place)
    return place


def _places(files: Mapping[str, bytes]) -> Iterator[Place]:
    own = {path: data for path, data in files.items() if not _OTHERS.search(path)}
    configs = read_configs(own)
    folders = {
        posixpath.dirname(posixpath.dirname(path))
        for path in own
        if posixpath.basename(path) == "migration.sql" and path.count("/") > 1
    }
    for migrations in sorted(folders):
        known = _known(own, migrations, configs)
        if known is not None:
            schemas, paths = known
            yield Place(_paths(schemas, migrations), _texts(own, paths))


def _paths(schemas: str, migrations: str) -> PrismaPaths:
    try:
        return PrismaPaths(schemas=schemas, migrations=migrations)
    except ValueError as error:
        raise invalid(
            "a folder's name has characters that no Project file takes",
            field="--prisma",
            value=posixpath.dirname(migrations),
            cure="use letters, digits, and any of . _ - @ ( ) + for its name",
        ) from error


def _known(
    files: Mapping[str, bytes], migrations: str, configs: Sequence[Configured]
) -> tuple[str, list[str]] | None:
    """The folder that the schema shall have, and its files now; as a configuration says, else beside."""
    for config in configs:
        if config.migrations not in (None, migrations):
            continue
        for named in config.schemas:
            found = _schema_at(files, named)
            if found is not None and (config.migrations == migrations or migrations in _beside(found[1])):
                return found
    parent = posixpath.dirname(migrations)
    below = [each for each in _prisma_files(files, parent) if not each.startswith(f"{migrations}/")]
    single, folder = posixpath.join(parent, "schema.prisma"), posixpath.join(parent, "schema")
    in_folder = [each for each in below if each.startswith(f"{folder}/")]
    if in_folder:
        if single in below:
            raise conflict(
                f"both {single} and the folder {folder} are there",
                field=single,
                cure=f"take the one away that production does not run with, as in: git rm {single}",
            )
        return folder, in_folder
    if single in below and (len(below) == 1 or _stands_alone(files, single)):
        return folder, [single]
    if len(below) == 1:
        return below[0].removesuffix(".prisma"), below
    return (parent, below) if below and parent else None


def _schema_at(files: Mapping[str, bytes], named: str) -> tuple[str, list[str]] | None:
    if named in files:
        return named.removesuffix(".prisma"), [named]
    below = _prisma_files(files, named)
    return (named, below) if below and named else None


def _beside(schema: Iterable[str]) -> set[str]:
    """Where Prisma looks for the migrations of these files unless it is told."""
    folders = {posixpath.dirname(path) for path in schema}
    return {posixpath.join(each, "migrations") for each in folders | {*map(posixpath.dirname, folders)}}


def _prisma_files(files: Mapping[str, bytes], folder: str) -> list[str]:
    prefix = f"{folder}/" if folder else ""
    found = [path for path in files if path.startswith(prefix) and path.endswith(".prisma")]
    return sorted(path for path in found if posixpath.basename(path) != "contract.prisma")


def _stands_alone(files: Mapping[str, bytes], path: str) -> bool:
    """Whether one file is a schema of its own: else it is one of several that are read together."""
    try:
        return bool(read_models(_texts(files, [path])))
    except ValueError:
        return False


def _texts(files: Mapping[str, bytes], paths: Iterable[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in sorted(paths):
        try:
            # Prisma reads both line ends, and a mark of byte order before the first line.
            texts[path] = files[path].decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise invalid(
                f"the schema cannot be read: {error}", field=path, cure=f"save {path} as UTF-8, and push"
            ) from error
    return texts


def _is_at(place: Place, wanted: str) -> bool:
    named = wanted.strip().removeprefix("./").rstrip("/") or "."
    return named in {place.folder, place.paths.migrations, place.paths.schemas, *place.schema}


def _for_postgresql(files: Mapping[str, bytes], place: Place) -> bool:
    lock = files.get(place.paths.lock_file)
    if lock is not None:
        return is_postgresql(lock)
    said = next((found for text in place.schema.values() if (found := _DATASOURCE.search(text))), None)
    return said is None or said["provider"] in ("postgresql", "postgres")


def _require_its_own(files: Mapping[str, bytes], place: Place) -> None:
    prefix = "" if place.folder == "." else f"{place.folder}/"
    new = prisma_8({path: data for path, data in files.items() if path.startswith(prefix)})
    if new is not None:
        raise _is_prisma_8(new)
    if not _for_postgresql(files, place):
        raise invalid(
            "its migrations are not for PostgreSQL",
            field=place.paths.lock_file,
            cure="only PostgreSQL is upgraded",
        )


def prisma_8(files: Mapping[str, bytes]) -> str | None:
    """A file by which Prisma 8 owns a folder: its contract, or a migration that is a program."""
    for path in sorted(files):
        name = posixpath.basename(path)
        if _OTHERS.search(path):
            continue
        if name == "contract.prisma" or (name == "migration.ts" and "migrations" in path.split("/")):
            return path
        if name == "contract.json" and _HASHED.search(files[path]):
            return path
    return None


def _is_prisma_8(path: str) -> Reject:
    return invalid(
        f"this is a project of Prisma 8, whose contract and ledger cannot be upgraded: {path}",
        field="--prisma",
        value=path,
        cure="adopt it while it runs with Prisma 7 or earlier, whose migrations are SQL files",
    )


def _none(files: Mapping[str, bytes], wanted: str | None) -> Reject:
    new = prisma_8(files)
    if new is not None and (wanted is None or new.startswith(wanted.strip().removeprefix("./"))):
        return _is_prisma_8(new)
    places = [place.folder for place in _places(files)]
    if wanted is not None and places:
        cure = f"write --prisma {places[0]}" + (f", or {' or '.join(places[1:])}" if places[1:] else "")
        return not_found(
            "no Prisma project with migrations is there", field="--prisma", value=wanted, cure=cure
        )
    return _unready(files, wanted)


def _unready(files: Mapping[str, bytes], wanted: str | None) -> Reject:
    schemas = [path for path in _prisma_files(files, "") if not _OTHERS.search(path)]
    reason = "this is no Prisma project with migrations"
    if not schemas:
        return invalid(
            f"{reason}: no .prisma file and no migration.sql was found in any folder",
            field="repository" if wanted is None else "--prisma",
            value=wanted,
            cure="name a repository with a Prisma schema and its migrations",
        )
    first = min(schemas, key=lambda path: (posixpath.basename(path) != "schema.prisma", path))
    folder = PurePosixPath(first).parent
    made = f"{folder / 'migrations' / '20000101000000_init'}"
    return invalid(
        f"{reason}: {', '.join(schemas[:5])} {'has' if len(schemas) == 1 else 'have'} no migrations beside",
        field="--prisma",
        value=wanted,
        cure=f"make a first migration of what production has: mkdir -p {made} && prisma migrate diff"
        f" --from-empty --to-schema {first} --script > {made}/migration.sql, commit and push it, and"
        " prisma migrate resolve --applied 20000101000000_init",
    )
