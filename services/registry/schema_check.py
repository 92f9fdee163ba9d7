"""Prisma's own verdict on a package's fragment, beside the fragments of others that it refers to."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

from services.registry.domain.gate import Library
from shared.clients.content import ContentStore
from shared.contracts.refusals import Refusal
from shared.errors import Reject, Retry
from shared.packages.package import SCHEMA, Package, read_package
from shared.prisma.blocks import Unreadable, read_fragment
from shared.prisma.parser import InvalidSchema, PrismaSchema
from shared.prisma.unified import unify
from shared.reading.readers import ReaderEnded, readers
from shared.reading.twice import GivenUp, read_twice


@dataclass(frozen=True)
class Beside:
    """The ground of a package, for a trial: scripts are names with their SQL, in the order to run them."""

    files: dict[str, str]
    """Its fragment and those of the others, as one schema."""
    files_of_others: dict[str, str]
    scripts_of_others: tuple[tuple[str, str], ...]


class SchemaCheck:
    """Judges fragments; what others have published comes from the content store."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._prisma = PrismaSchema()

    async def refusals(self, package: Package, library: Library) -> tuple[Refusal, ...]:
        """Every error and dispute that has a side in this package's fragment, by its line.

        Raises `Retry` when Prisma's parser, or a package that the fragment refers to, cannot be had now.
        """
        own = f"{package.system}.prisma"
        try:
            await unify(self._prisma, await self._with_others(own, package.schema, library))
        except InvalidSchema as invalid:
            found = [(each.line_in(own), each.message) for each in invalid.problems]
            return tuple(
                Refusal(
                    kind="invalid",
                    reason=f"line {line}: {message}",
                    field=SCHEMA,
                    value=package.schema.split("\n")[line - 1].strip(),
                    cure="correct the line, and check again with `upgradepath release check`",
                )
                for line, message in found
                if line is not None
            )
        except Reject as rejected:
            told = "; ".join(f"{each.reason} ({each.cure})" for each in rejected.refusals)
            raise Retry(f"no fragment can be checked: {told}") from rejected
        return ()

    async def beside(self, package: Package, library: Library) -> Beside | None:
        """The package with the Systems that it refers to or requires; none if they refer to it in a circle.

        Raises `Retry` as `refusals` does, `InvalidSchema` for fragments that are no schema together.
        """
        own = f"{package.system}.prisma"
        parts = await self._parts(own, Part(package.schema), library, package.manifest.requires)
        order = TopologicalSorter({path: part.refers for path, part in parts.items()})
        try:
            others = [path for path in order.static_order() if path != own]
        except CycleError:
            return None
        schemas = {path: part.schema for path, part in parts.items() if part.schema.strip()}
        without = {path: schema for path, schema in schemas.items() if path != own}
        return Beside(
            dict((await unify(self._prisma, schemas)).files) if schemas else {},
            dict((await unify(self._prisma, without)).files) if without else {},
            tuple(script for path in others for script in parts[path].scripts),
        )

    async def _with_others(self, own: str, schema: str, library: Library) -> dict[str, str]:
        """The fragment, and those of the Systems whose models it and they refer to."""
        parts = await self._parts(own, Part(schema), library)
        return {path: part.schema for path, part in parts.items()}

    async def _parts(
        self, own: str, part: "Part", library: Library, required: Iterable[str] = ()
    ) -> dict[str, "Part"]:
        parts = {own: part}
        waiting = [own]
        while waiting:
            path = waiting.pop()
            systems = {*await _referred(path, parts[path].schema, library)}
            if path == own:
                systems |= {*required} & library.packages.keys()
            for system in sorted(systems):
                other = f"{system}.prisma"
                if other not in parts:
                    data = await self._content.get(library.packages[system])
                    parts[other] = await part_of(system, data)
                    waiting.append(other)
            parts[path] = replace(parts[path], refers=frozenset(f"{each}.prisma" for each in systems))
        return parts


@dataclass(frozen=True)
class Part:
    """One package, as far as others stand on it."""

    schema: str
    scripts: tuple[tuple[str, str], ...] = ()
    requires: tuple[str, ...] = ()
    refers: frozenset[str] = frozenset()


async def part_of(system: str, data: bytes) -> Part:
    """The part of others in what was published. In a child, because it may be large. Raises `Retry`."""
    try:
        return await readers().read(f"system {system}", read_part, data)
    except ReaderEnded as ended:
        raise Retry(f"the newest Release of {system} cannot be read: {ended}") from ended


def read_part(data: bytes) -> Part:
    """Fragment, migrations as names with their SQL, and required Systems in a package's bytes."""
    package = read_package(data)
    scripts = tuple((each.name, each.sql) for each in package.migrations)
    return Part(package.schema, scripts, tuple(sorted(package.manifest.requires)))


async def _referred(path: str, schema: str, library: Library) -> list[str]:
    try:
        named = await read_twice(path, read_names, path, schema)
    except (Unreadable, GivenUp):
        # What cannot be read refers to nothing; the check itself says where.
        return []
    return sorted({library.owners[name] for name in named if name in library.owners})


def read_names(path: str, schema: str) -> set[str]:
    """The names that a fragment uses as types or reopens: a child calls it. Raises `Unreadable`."""
    blocks = read_fragment(path, schema).blocks
    named = {member.type for block in blocks for member in block.fields}
    return named | {block.name for block in blocks if block.extends is not None}
